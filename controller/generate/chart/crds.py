"""The CRDs as templates of the chart: the text of crds/, with the labels, annotations and switches of the chart."""

from __future__ import annotations

from typing import Any, Final

_FRONT: Final = """\
{{{{- /* {header} */}}}}
{{{{- if .Values.crds.enabled }}}}
apiVersion: {api_version}
kind: {kind}
metadata:
  {{{{- $annotations := merge (dict {annotations}) .Values.crds.annotations }}}}
  {{{{- if .Values.crds.keep }}}}{{{{- $_ := set $annotations "helm.sh/resource-policy" "keep" }}}}{{{{- end }}}}
  {{{{- $metadata := dict "root" . "name" "{name}" "namespace" "" "component" "crds" "annotations" $annotations }}}}
  {{{{- include "roomkeeper.metadata" $metadata | nindent 2 }}}}
"""
_BACK: Final = "{{- end }}\n"


def crd_template(crd: dict[str, Any], spec: str, header: str) -> str:
    """The template of one CRD. `spec` is the YAML of its `spec:`, `header` says what makes the file."""
    annotations = " ".join(f'"{key}" "{value}"' for key, value in crd["metadata"]["annotations"].items())
    front = _FRONT.format(
        header=header,
        api_version=crd["apiVersion"],
        kind=crd["kind"],
        annotations=annotations,
        name=crd["metadata"]["name"],
    )
    # Helm would take braces in a description for a template.
    return front + spec.replace("{{", '{{ "{{" }}') + _BACK
