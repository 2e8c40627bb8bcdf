{{- define "caracal.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "caracal.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "caracal.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "caracal.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "caracal.labels" -}}
app.kubernetes.io/name: {{ include "caracal.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Selectors never change: a Deployment's cannot be updated. */}}
{{- define "caracal.selector" -}}
app.kubernetes.io/name: {{ include "caracal.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "caracal.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "caracal.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image's reference: list of its values and the chart's version. */}}
{{- define "caracal.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "caracal.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "caracal.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "caracal.adminURL" -}}
{{- printf "%s://%s-admin.%s.svc:%d" (ternary "https" "http" (ne .Values.admin.tls.existingSecret "")) (include "caracal.fullname" .) .Release.Namespace (int .Values.admin.service.port) -}}
{{- end -}}

{{/* Where replicas are kept apart, unless the values say otherwise: list of constraints, root, component. */}}
{{- define "caracal.spread" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "caracal.selector" $ | nindent 6 }}
      app.kubernetes.io/component: admin
{{- end }}
{{- end -}}

{{/* DNS is needed by everybody. */}}
{{- define "caracal.dnsEgress" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{/* What cannot work is said before anything is installed. */}}
{{- define "caracal.check" -}}
{{- $admin := .Values.admin -}}
{{- if $admin.enabled -}}
{{- if eq $admin.store.kind "sqlite" -}}
{{- if gt (int $admin.replicas) 1 -}}{{- fail "admin.replicas: more than one needs admin.store.kind postgres" -}}{{- end -}}
{{- if $admin.autoscaling.enabled -}}{{- fail "admin.autoscaling: needs admin.store.kind postgres" -}}{{- end -}}
{{- else -}}
{{- if not $admin.store.postgres.existingSecret -}}{{- fail "admin.store.postgres.existingSecret: is required with admin.store.kind postgres" -}}{{- end -}}
{{- if not $admin.token.existingSecret -}}{{- fail "admin.token.existingSecret: is required with admin.store.kind postgres, or each replica would make a token of its own" -}}{{- end -}}
{{- end -}}
{{- if and $admin.tls.clientCASecret (not $admin.tls.existingSecret) -}}{{- fail "admin.tls.clientCASecret: needs admin.tls.existingSecret" -}}{{- end -}}
{{- end -}}
{{- if .Values.daemon.daemonSet.enabled -}}
{{- include "caracal.daemon.check" . -}}
{{- end -}}
{{- end -}}
