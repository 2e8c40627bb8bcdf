import{D as e,N as t,P as n,Q as r,S as i,T as a,c as o,f as s,g as c,w as l,x as u}from"./index-DYg3TRCM.js";import{a as d,n as f,t as p}from"./jsx-runtime-Wy9s6hX0.js";import{t as m}from"./rego-editor-D3UHTpf2.js";var h=d(f(),1),g=p(),_=`package caracal.authz

import rego.v1

default result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [],
}
`;function v(){let d=o(),[,f]=e(),p=r(),[v,y]=(0,h.useState)(``),[b,x]=(0,h.useState)(``),[S,C]=(0,h.useState)(_),w=n({queryKey:[`templates`],staleTime:1/0,queryFn:({signal:e})=>a.policyTemplates.list({signal:e})}),T=t({mutationFn:()=>a.policies.create(d,{name:v,description:b,content:S},{idempotencyKey:crypto.randomUUID()}),onSuccess:async e=>{await p.invalidateQueries({queryKey:[`policies`,d]}),f(`/z/${d}/policies/${e.id}`)}});return(0,g.jsxs)(u,{title:`New policy`,intro:`Nothing is governed by it until a policy set that has it is activated.`,children:[(0,g.jsxs)(`form`,{onSubmit:e=>{e.preventDefault(),T.mutate()},children:[(0,g.jsxs)(`div`,{className:`grid`,children:[(0,g.jsx)(c,{label:`Name`,children:e=>(0,g.jsx)(`input`,{...e,required:!0,maxLength:128,value:v,onChange:e=>y(e.target.value)})}),(0,g.jsx)(c,{label:`What it is for`,children:e=>(0,g.jsx)(`input`,{...e,value:b,onChange:e=>x(e.target.value)})}),(0,g.jsx)(c,{label:`Begin with a template`,children:e=>(0,g.jsxs)(`select`,{...e,defaultValue:``,onChange:e=>C(w.data?.find(t=>t.id===e.target.value)?.content??_),children:[(0,g.jsx)(`option`,{value:``,children:`A policy that denies`}),w.data?.map(e=>(0,g.jsx)(`option`,{value:e.id,children:e.name},e.id))]})})]}),(0,g.jsx)(m,{label:`Policy content`,value:S,onChange:C}),(0,g.jsx)(i,{error:T.error}),(0,g.jsx)(`div`,{className:`row`,children:(0,g.jsx)(`button`,{className:`primary`,disabled:T.isPending,children:`Create policy`})})]}),(0,g.jsx)(s,{command:`caracal policy create policy.rego --name ${l(v||`NAME`)}${b?` --description ${l(b)}`:``}`})]})}export{v as default};