{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "phantom-ns.labels" -}}
app.kubernetes.io/name: phantom-ns
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "phantom-ns.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}
{{- define "phantom-ns.pull" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{/* What the daemon reads once is read again by a new one. */}}
{{- define "phantom-ns.checksum" -}}
phantom-ns.dev/configuration: {{ printf "%s%s" (toJson .Values.policies) (toJson .Values.credentials) | sha256sum }}
{{- end }}
