import{A as e,C as t,D as n,E as r,I as i,L as a,O as o,l as s,m as c,nt as l,v as u,w as d}from"./index-Ds8hMWvC.js";import{a as f,n as p,t as m}from"./jsx-runtime-Wy9s6hX0.js";import{t as h}from"./rego-editor-BUiFx-53.js";var g=f(p(),1),_=m(),v=`package caracal.authz

import rego.v1

default result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [],
}
`;function y(){let f=s(),[,p]=e(),m=l(),[y,b]=(0,g.useState)(``),[x,S]=(0,g.useState)(``),[C,w]=(0,g.useState)(v),T=a({queryKey:[`templates`],staleTime:1/0,queryFn:({signal:e})=>o.policyTemplates.list({signal:e})}),E=i({mutationFn:()=>o.policies.create(f,{name:y,description:x,content:C},{idempotencyKey:r()}),onSuccess:async e=>{await m.invalidateQueries({queryKey:[`policies`,f]}),p(`/z/${f}/policies/${e.id}`)}});return(0,_.jsxs)(t,{title:`New policy`,intro:`Nothing is governed by it until a policy set that has it is activated.`,children:[(0,_.jsxs)(`form`,{onSubmit:e=>{e.preventDefault(),E.mutate()},children:[(0,_.jsxs)(`div`,{className:`grid`,children:[(0,_.jsx)(u,{label:`Name`,children:e=>(0,_.jsx)(`input`,{...e,required:!0,maxLength:128,value:y,onChange:e=>b(e.target.value)})}),(0,_.jsx)(u,{label:`What it is for`,children:e=>(0,_.jsx)(`input`,{...e,value:x,onChange:e=>S(e.target.value)})}),(0,_.jsx)(u,{label:`Begin with a template`,children:e=>(0,_.jsxs)(`select`,{...e,defaultValue:``,onChange:e=>w(T.data?.find(t=>t.id===e.target.value)?.content??v),children:[(0,_.jsx)(`option`,{value:``,children:`A policy that denies`}),T.data?.map(e=>(0,_.jsx)(`option`,{value:e.id,children:e.name},e.id))]})})]}),(0,_.jsx)(h,{label:`Policy content`,value:C,onChange:w}),(0,_.jsx)(d,{error:E.error}),(0,_.jsx)(`div`,{className:`row`,children:(0,_.jsx)(`button`,{className:`primary`,disabled:E.isPending,children:`Create policy`})})]}),(0,_.jsx)(c,{command:`caracal policy create policy.rego --name ${n(y||`NAME`)}${x?` --description ${n(x)}`:``}`})]})}export{y as default};