{{/*
The daemon's parts, for the DaemonSet of this chart and for pods of other charts that have this one as a
dependency. Each is given a dict: root, a context with this chart's values (in another chart
(index .Subcharts "caracal") is one), and kind, "daemonSet" or "sidecar".
*/}}

{{- define "caracal.daemon.check" -}}
{{- $daemon := .Values.daemon -}}
{{- if not (or $daemon.token.existingSecret $daemon.clientCertificate.existingSecret) -}}{{- fail "daemon.token.existingSecret: it or daemon.clientCertificate.existingSecret is required" -}}{{- end -}}
{{- if not (or $daemon.trustRoot.configMap $daemon.trustRoot.sha256) -}}{{- fail "daemon.trustRoot: configMap or sha256 is required; a daemon trusts nothing else" -}}{{- end -}}
{{- if not $daemon.decideToken.existingSecret -}}{{- fail "daemon.decideToken.existingSecret: is required, because probes and scrapes need an address that is not loopback" -}}{{- end -}}
{{- if not (or $daemon.adminURLs .Values.admin.enabled) -}}{{- fail "daemon.adminURLs: is required where admin.enabled is false" -}}{{- end -}}
{{- if and $daemon.adminCA.configMap $daemon.adminCA.secret -}}{{- fail "daemon.adminCA: configMap and secret exclude each other" -}}{{- end -}}
{{- end -}}

{{/* The settings file. */}}
{{- define "caracal.daemon.settings" -}}
{{- $root := .root -}}
{{- $daemon := $root.Values.daemon -}}
{{- $set := dict
  "admin_url" (default (list (include "caracal.adminURL" $root)) $daemon.adminURLs)
  "decide_addr" ":8181"
  "decide_socket" "/run/caracald/decide.sock"
  "state_dir" "/var/lib/caracald/state"
  "log_format" "json" -}}
{{- if $daemon.trustRoot.configMap }}{{- $_ := set $set "trust_root" "/etc/caracald/trust/root.json" -}}{{- end -}}
{{- if $daemon.trustRoot.sha256 }}{{- $_ := set $set "trust_root_sha256" $daemon.trustRoot.sha256 -}}{{- end -}}
{{- if $daemon.token.existingSecret }}{{- $_ := set $set "token_file" "/etc/caracald/token/token" -}}{{- end -}}
{{- if or $daemon.adminCA.configMap $daemon.adminCA.secret }}{{- $_ := set $set "admin_ca" "/etc/caracald/admin-ca/ca.crt" -}}{{- end -}}
{{- if $daemon.clientCertificate.existingSecret }}
{{- $_ := set $set "client_cert" "/etc/caracald/client/tls.crt" -}}
{{- $_ := set $set "client_key" "/etc/caracald/client/tls.key" -}}
{{- end -}}
{{- if $daemon.tls.existingSecret }}
{{- $_ := set $set "tls_cert" "/etc/caracald/tls/tls.crt" -}}
{{- $_ := set $set "tls_key" "/etc/caracald/tls/tls.key" -}}
{{- end -}}
{{- toYaml (mergeOverwrite $set (deepCopy $daemon.settings)) -}}
{{- end -}}

{{/* The name of the ConfigMap with the settings file. */}}
{{- define "caracal.daemon.configName" -}}
{{- printf "%s-daemon" (include "caracal.fullname" .root) -}}
{{- end -}}

{{/*
The container. As a sidecar it is an entry of initContainers with restartPolicy Always: it starts
before the STS does, and ends after it.
*/}}
{{- define "caracal.daemon.container" -}}
{{- $root := .root -}}
{{- $daemon := $root.Values.daemon -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne $daemon.tls.existingSecret "") -}}
- name: caracald
  image: {{ include "caracal.image" (list $root.Values.image.daemon $root.Chart.AppVersion) | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  {{- if eq .kind "sidecar" }}
  restartPolicy: Always
  {{- end }}
  args:
    - --config=/etc/caracald/config/caracald.yaml
    {{- range $daemon.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: CARACALD_DECIDE_TOKEN
      valueFrom:
        secretKeyRef:
          name: {{ $daemon.decideToken.existingSecret }}
          key: {{ $daemon.decideToken.key }}
    # The pod's name lists the daemon; labels say where it is.
    - name: CARACALD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - name: POD_NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    - name: NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    {{- if not (hasKey $daemon.settings "label") }}
    - name: CARACALD_LABEL
      value: namespace=$(POD_NAMESPACE),node=$(NODE_NAME)
    {{- end }}
    # The collector keeps below the container's limit.
    {{- with ($daemon.resources.limits).memory }}
    - name: GOMEMLIMIT
      value: {{ include "caracal.goMemLimit" . | quote }}
    {{- end }}
    {{- with $daemon.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: decide
      containerPort: 8181
      protocol: TCP
  # A daemon that is slow to verify many zones is given time, and then watched closely.
  startupProbe:
    httpGet: {path: /healthz, port: decide, scheme: {{ $scheme }}}
    periodSeconds: 1
    failureThreshold: 120
  livenessProbe:
    httpGet: {path: /healthz, port: decide, scheme: {{ $scheme }}}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: decide, scheme: {{ $scheme }}}
    periodSeconds: 5
    timeoutSeconds: 3
  resources:
    {{- toYaml $daemon.resources | nindent 4 }}
  securityContext:
    {{- include "caracal.securityContext" $root | nindent 4 }}
  volumeMounts:
    - {name: caracald-config, mountPath: /etc/caracald/config, readOnly: true}
    - {name: caracald-state, mountPath: /var/lib/caracald}
    - {name: caracald-run, mountPath: /run/caracald}
    {{- if $daemon.token.existingSecret }}
    - {name: caracald-token, mountPath: /etc/caracald/token, readOnly: true}
    {{- end }}
    {{- if $daemon.trustRoot.configMap }}
    - {name: caracald-trust, mountPath: /etc/caracald/trust, readOnly: true}
    {{- end }}
    {{- if or $daemon.adminCA.configMap $daemon.adminCA.secret }}
    - {name: caracald-admin-ca, mountPath: /etc/caracald/admin-ca, readOnly: true}
    {{- end }}
    {{- if $daemon.clientCertificate.existingSecret }}
    - {name: caracald-client, mountPath: /etc/caracald/client, readOnly: true}
    {{- end }}
    {{- if $daemon.tls.existingSecret }}
    - {name: caracald-tls, mountPath: /etc/caracald/tls, readOnly: true}
    {{- end }}
    {{- with $daemon.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/*
The volumes of that container. Only it mounts the secrets, so they have the usual mode: a pod of
another chart may have no fsGroup that would let the daemon's user read them.
*/}}
{{- define "caracal.daemon.volumes" -}}
{{- $root := .root -}}
{{- $daemon := $root.Values.daemon -}}
- name: caracald-config
  configMap:
    name: {{ include "caracal.daemon.configName" . }}
- name: caracald-run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: caracald-state
  {{- if and (eq $daemon.state.kind "hostPath") (eq .kind "daemonSet") }}
  hostPath:
    path: {{ $daemon.state.hostPath }}
    type: DirectoryOrCreate
  {{- else if eq $daemon.state.kind "hostPath" }}
  {{- fail "daemon.state.kind: hostPath is for the DaemonSet; two sidecars on a node would share one directory" }}
  {{- else if eq $daemon.state.kind "ephemeral" }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $daemon.state.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $daemon.state.sizeLimit }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $daemon.state.sizeLimit }}
  {{- end }}
{{- with $daemon.token.existingSecret }}
- name: caracald-token
  secret:
    secretName: {{ . }}
    items: [{key: {{ $daemon.token.key }}, path: token}]
{{- end }}
{{- with $daemon.trustRoot.configMap }}
- name: caracald-trust
  configMap:
    name: {{ . }}
    items: [{key: {{ $daemon.trustRoot.key }}, path: root.json}]
{{- end }}
{{- with $daemon.adminCA.configMap }}
- name: caracald-admin-ca
  configMap:
    name: {{ . }}
    items: [{key: {{ $daemon.adminCA.key }}, path: ca.crt}]
{{- end }}
{{- with $daemon.adminCA.secret }}
- name: caracald-admin-ca
  secret:
    secretName: {{ . }}
    items: [{key: {{ $daemon.adminCA.key }}, path: ca.crt}]
{{- end }}
{{- with $daemon.clientCertificate.existingSecret }}
- name: caracald-client
  secret: {secretName: {{ . }}}
{{- end }}
{{- with $daemon.tls.existingSecret }}
- name: caracald-tls
  secret: {secretName: {{ . }}}
{{- end }}
{{- with $daemon.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* For a pod with a sidecar: its entry of initContainers. Give the context of this chart. */}}
{{- define "caracal.sidecar.initContainer" -}}
{{- include "caracal.daemon.check" . -}}
{{- include "caracal.daemon.container" (dict "root" . "kind" "sidecar") -}}
{{- end -}}

{{/* Its volumes. */}}
{{- define "caracal.sidecar.volumes" -}}
{{- include "caracal.daemon.volumes" (dict "root" . "kind" "sidecar") -}}
{{- end -}}

{{/* The mount by which the STS's container reaches the socket, /run/caracald/decide.sock. */}}
{{- define "caracal.sidecar.socketMount" -}}
- {name: caracald-run, mountPath: /run/caracald}
{{- end -}}

{{/* The settings, as a ConfigMap that the sidecar's pods and the DaemonSet share. */}}
{{- define "caracal.daemon.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "caracal.daemon.configName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "caracal.labels" .root | nindent 4 }}
    app.kubernetes.io/component: daemon
data:
  caracald.yaml: |
    {{- include "caracal.daemon.settings" . | nindent 4 }}
{{- end -}}

{{/* Nine tenths of a memory limit, as Go wants it: whole Mi and Gi only, others are left to Go. */}}
{{- define "caracal.goMemLimit" -}}
{{- if regexMatch "^[1-9][0-9]*Gi$" (toString .) -}}
{{- printf "%dMiB" (div (mul (trimSuffix "Gi" .) 1024 9) 10) -}}
{{- else if regexMatch "^[1-9][0-9]*Mi$" (toString .) -}}
{{- printf "%dMiB" (div (mul (trimSuffix "Mi" .) 9) 10) -}}
{{- else -}}
off
{{- end -}}
{{- end -}}
