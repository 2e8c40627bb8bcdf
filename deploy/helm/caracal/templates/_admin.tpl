{{/* The control plane's settings file. */}}
{{- define "caracal.admin.settings" -}}
{{- $admin := .Values.admin -}}
{{- $set := dict "admin_addr" ":3000" "data_dir" "/var/lib/caracal" "log_format" "json" -}}
{{- if $admin.tls.existingSecret }}
{{- $_ := set $set "tls_cert" "/etc/caracal/tls/tls.crt" -}}
{{- $_ := set $set "tls_key" "/etc/caracal/tls/tls.key" -}}
{{- end -}}
{{- if $admin.tls.clientCASecret }}{{- $_ := set $set "client_ca" "/etc/caracal/client-ca/ca.crt" -}}{{- end -}}
{{- if $admin.signing.existingSecret }}
{{- $_ := set $set "bundle_key" (printf "/etc/caracal/signing/%s" $admin.signing.bundleKey) -}}
{{- $_ := set $set "pointer_key" (printf "/etc/caracal/signing/%s" $admin.signing.pointerKey) -}}
{{- $roots := list -}}
{{- range $admin.signing.trustRoots }}{{- $roots = append $roots (printf "/etc/caracal/signing/%s" .) -}}{{- end -}}
{{- $_ := set $set "trust_root" $roots -}}
{{- end -}}
{{- toYaml (mergeOverwrite $set (deepCopy $admin.settings)) -}}
{{- end -}}
