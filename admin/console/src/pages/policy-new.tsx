// Writing a policy: from nothing or from a template.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";
import { api } from "../api.ts";
import { RegoEditor } from "../editor/rego-editor.tsx";
import { Cli, Field, Page, Problem, onceKey, word } from "../ui.tsx";
import { useZone } from "../zone.ts";

const beginning = `package caracal.authz

import rego.v1

default result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [],
}
`;

export default function PolicyNew() {
  const zone = useZone();
  const [, go] = useLocation();
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [content, setContent] = useState(beginning);
  const templates = useQuery({ queryKey: ["templates"], staleTime: Infinity, queryFn: ({ signal }) => api.policyTemplates.list({ signal }) });
  const create = useMutation({
    mutationFn: () => api.policies.create(zone, { name, description, content }, { idempotencyKey: onceKey() }),
    onSuccess: async (policy) => { await queries.invalidateQueries({ queryKey: ["policies", zone] }); go(`/z/${zone}/policies/${policy.id}`); },
  });
  return (
    <Page title="New policy" intro="Nothing is governed by it until a policy set that has it is activated.">
      <form onSubmit={(e) => { e.preventDefault(); create.mutate(); }}>
        <div className="grid">
          <Field label="Name">{(props) => <input {...props} required maxLength={128} value={name} onChange={(e) => setName(e.target.value)} />}</Field>
          <Field label="What it is for">{(props) => <input {...props} value={description} onChange={(e) => setDescription(e.target.value)} />}</Field>
          <Field label="Begin with a template">{(props) => (
            <select {...props} defaultValue="" onChange={(e) => setContent(templates.data?.find((t) => t.id === e.target.value)?.content ?? beginning)}>
              <option value="">A policy that denies</option>{templates.data?.map((t) => <option key={t.id} value={t.id}>{t.name}</option>)}
            </select>)}
          </Field>
        </div>
        <RegoEditor label="Policy content" value={content} onChange={setContent} />
        <Problem error={create.error} />
        <div className="row"><button className="primary" disabled={create.isPending}>Create policy</button></div>
      </form>
      <Cli command={`caracal policy create policy.rego --name ${word(name || "NAME")}${description ? ` --description ${word(description)}` : ""}`} />
    </Page>
  );
}
