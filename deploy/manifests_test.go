package deploy_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
	podsecurity "k8s.io/pod-security-admission/api"
	podpolicy "k8s.io/pod-security-admission/policy"
)

// manifests are the objects of one rendering.
type manifests struct {
	t       *testing.T
	objects []runtime.Object
}

var document = regexp.MustCompile(`(?m)^---\s*$`)

// decode reads rendered files with Kubernetes' own types and those of the
// Prometheus operator; fields that they do not have, and fields twice, are errors.
func decode(t *testing.T, files map[string]string) manifests {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := kubernetes.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := monitoring.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	m := manifests{t: t}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, text := range document.Split(files[name], -1) {
			if strings.TrimSpace(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(text, "")) == "" {
				continue
			}
			o, _, err := decoder.Decode([]byte(text), nil, nil)
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, text)
				continue
			}
			m.objects = append(m.objects, o)
		}
	}
	return m
}

func all[T runtime.Object](m manifests) (list []T) {
	for _, o := range m.objects {
		if typed, ok := o.(T); ok {
			list = append(list, typed)
		}
	}
	return list
}

// workload is a pod template and who makes pods of it.
type workload struct {
	name     string
	selector *meta.LabelSelector
	template core.PodTemplateSpec
}

func (m manifests) workloads() (list []workload) {
	for _, d := range all[*apps.Deployment](m) {
		list = append(list, workload{"Deployment " + d.Name, d.Spec.Selector, d.Spec.Template})
	}
	for _, d := range all[*apps.DaemonSet](m) {
		list = append(list, workload{"DaemonSet " + d.Name, d.Spec.Selector, d.Spec.Template})
	}
	return list
}

func (w workload) containers() []core.Container {
	return append(slices.Clone(w.template.Spec.InitContainers), w.template.Spec.Containers...)
}

// TestManifests renders the chart with every sample of values.
func TestManifests(t *testing.T) {
	counts := map[string]string{
		"sqlite":     "ConfigMap 1, Deployment 1, NetworkPolicy 1, PersistentVolumeClaim 1, Service 1, ServiceAccount 1",
		"autoscaled": "ConfigMap 1, Deployment 1, HorizontalPodAutoscaler 1, PodDisruptionBudget 1, Service 1",
		"daemonset":  "ConfigMap 1, DaemonSet 1, NetworkPolicy 1, PodMonitor 1, Service 1, ServiceAccount 1",
		"postgres": "ConfigMap 4, DaemonSet 1, Deployment 1, NetworkPolicy 2, PodDisruptionBudget 1, PodMonitor 2, PrometheusRule 1, Service 2, " +
			"ServiceAccount 1, ServiceMonitor 1",
		"sidecar": "ConfigMap 1, Deployment 1",
	}
	for name, s := range samples(t) {
		t.Run(name, func(t *testing.T) {
			files, err := s.render(t)
			if err != nil {
				t.Fatal(err)
			}
			m := decode(t, files)
			if have := m.count(); have != counts[name] {
				t.Errorf("rendered are %s; want %s", have, counts[name])
			}
			m.checkNames()
			for _, w := range m.workloads() {
				m.checkPod(w)
			}
			m.checkReferences()
			checkRendered(t, m)
		})
	}
}

func (m manifests) count() string {
	kinds := map[string]int{}
	for _, o := range m.objects {
		kinds[o.GetObjectKind().GroupVersionKind().Kind]++
	}
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		list = append(list, fmt.Sprintf("%s %d", kind, kinds[kind]))
	}
	return strings.Join(list, ", ")
}

// checkNames wants names and labels that Kubernetes takes, and no name twice.
func (m manifests) checkNames() {
	seen := map[string]bool{}
	for _, o := range m.objects {
		at := o.(meta.ObjectMetaAccessor).GetObjectMeta()
		kind := o.GetObjectKind().GroupVersionKind().Kind
		name := kind + " " + at.GetName()
		for _, wrong := range validation.IsDNS1123Subdomain(at.GetName()) {
			m.t.Errorf("%s: %s", name, wrong)
		}
		if at.GetNamespace() != namespace {
			m.t.Errorf("%s is in the namespace %q", name, at.GetNamespace())
		}
		if seen[name] {
			m.t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		for key, value := range at.GetLabels() {
			for _, wrong := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
				m.t.Errorf("%s: label %s=%s: %s", name, key, value, wrong)
			}
		}
	}
}

// checkPod wants pods that Kubernetes' strictest standard takes, with probes,
// requests, and volumes that fit.
func (m manifests) checkPod(w workload) {
	t, pod := m.t, w.template.Spec
	evaluator, err := podpolicy.NewEvaluator(podpolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	judged := pod.DeepCopy()
	// A node's directory is a choice that the standard forbids: it and who prepares it are looked at here.
	judged.InitContainers = slices.DeleteFunc(judged.InitContainers, func(c core.Container) bool { return c.Name == "prepare" })
	judged.Volumes = slices.DeleteFunc(judged.Volumes, func(v core.Volume) bool { return v.HostPath != nil })
	for _, result := range evaluator.EvaluatePod(podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()},
		&w.template.ObjectMeta, judged) {
		if !result.Allowed {
			t.Errorf("%s is not restricted: %s: %s", w.name, result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s mounts a token of its service account", w.name)
	}
	volumes, used := map[string]bool{}, map[string]bool{}
	for _, v := range pod.Volumes {
		if volumes[v.Name] {
			t.Errorf("%s has the volume %s twice", w.name, v.Name)
		}
		volumes[v.Name] = true
	}
	ports := map[string]bool{}
	for _, c := range w.containers() {
		at := w.name + ", container " + c.Name
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s may write its root file system", at)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s has no requests of processor and memory, or no limit of memory", at)
		}
		mounted := map[string]bool{}
		for _, v := range c.VolumeMounts {
			if !volumes[v.Name] {
				t.Errorf("%s mounts %s, which is no volume", at, v.Name)
			}
			if mounted[v.MountPath] {
				t.Errorf("%s mounts %s twice", at, v.MountPath)
			}
			mounted[v.MountPath], used[v.Name] = true, true
		}
		for _, p := range c.Ports {
			for _, wrong := range validation.IsValidPortName(p.Name) {
				t.Errorf("%s: port %s: %s", at, p.Name, wrong)
			}
			ports[p.Name] = true
		}
		if c.Name != "admin" && c.Name != "caracald" {
			continue
		}
		for _, probe := range []*core.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet == nil || !ports[probe.HTTPGet.Port.String()] {
				t.Errorf("%s has a probe that asks nothing: %v", at, probe)
			}
		}
		for _, e := range c.Env {
			secret := strings.HasSuffix(e.Name, "_TOKEN") || strings.Contains(e.Name, "_STORE")
			if secret && (e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil) {
				t.Errorf("%s has the secret %s, and not from a Secret", at, e.Name)
			}
		}
	}
	for name := range volumes {
		if !used[name] {
			t.Errorf("%s has the volume %s for nothing", w.name, name)
		}
	}
}

// matching are the workloads that a selector finds.
func (m manifests) matching(what string, selector *meta.LabelSelector) (list []workload) {
	s, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		m.t.Errorf("%s: %v", what, err)
		return nil
	}
	for _, w := range m.workloads() {
		if s.Matches(labels.Set(w.template.Labels)) {
			list = append(list, w)
		}
	}
	return list
}

// checkReferences wants that whatever one object says of another is there.
func (m manifests) checkReferences() {
	t := m.t
	one := func(what string, selector *meta.LabelSelector, port string) {
		found := m.matching(what, selector)
		if len(found) != 1 {
			t.Errorf("%s selects %d workloads", what, len(found))
			return
		}
		if port == "" {
			return
		}
		for _, c := range found[0].containers() {
			if slices.ContainsFunc(c.Ports, func(p core.ContainerPort) bool { return p.Name == port }) {
				return
			}
		}
		t.Errorf("%s is about the port %s, which %s has not", what, port, found[0].name)
	}
	for _, w := range m.workloads() {
		one(w.name, w.selector, "")
	}
	for _, s := range all[*core.Service](m) {
		for _, p := range s.Spec.Ports {
			one("Service "+s.Name, &meta.LabelSelector{MatchLabels: s.Spec.Selector}, p.TargetPort.String())
		}
	}
	for _, p := range all[*disruption.PodDisruptionBudget](m) {
		one("PodDisruptionBudget "+p.Name, p.Spec.Selector, "")
	}
	for _, p := range all[*networking.NetworkPolicy](m) {
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				one("NetworkPolicy "+p.Name, &p.Spec.PodSelector, port.Port.String())
			}
			if len(rule.From) == 0 {
				t.Errorf("NetworkPolicy %s lets everybody in", p.Name)
			}
		}
	}
	for _, h := range all[*autoscaling.HorizontalPodAutoscaler](m) {
		if !slices.ContainsFunc(all[*apps.Deployment](m), func(d *apps.Deployment) bool { return d.Name == h.Spec.ScaleTargetRef.Name && d.Spec.Replicas == nil }) {
			t.Errorf("HorizontalPodAutoscaler %s scales nothing, or what has a number of its own", h.Name)
		}
	}
	for _, s := range all[*monitoring.ServiceMonitor](m) {
		selector, err := meta.LabelSelectorAsSelector(&s.Spec.Selector)
		if err != nil || !slices.ContainsFunc(all[*core.Service](m), func(v *core.Service) bool {
			return selector.Matches(labels.Set(v.Labels)) && v.Spec.Ports[0].Name == s.Spec.Endpoints[0].Port
		}) {
			t.Errorf("ServiceMonitor %s finds no Service (%v)", s.Name, err)
		}
	}
	for _, p := range all[*monitoring.PodMonitor](m) {
		if !strings.HasSuffix(p.Name, "-sidecar") {
			one("PodMonitor "+p.Name, &p.Spec.Selector, *p.Spec.PodMetricsEndpoints[0].Port)
		}
	}
	made := map[string]bool{}
	for _, o := range m.objects {
		made[o.GetObjectKind().GroupVersionKind().Kind+" "+o.(meta.ObjectMetaAccessor).GetObjectMeta().GetName()] = true
	}
	for _, w := range m.workloads() {
		account := w.template.Spec.ServiceAccountName
		if len(all[*core.ServiceAccount](m)) > 0 && !made["ServiceAccount "+account] {
			t.Errorf("%s runs as %q, which is not made", w.name, account)
		}
		for _, v := range w.template.Spec.Volumes {
			if v.Name == "config" || v.Name == "caracald-config" {
				if !made["ConfigMap "+v.ConfigMap.Name] {
					t.Errorf("%s has the settings of %s, which is not made", w.name, v.ConfigMap.Name)
				}
			}
		}
	}
}
