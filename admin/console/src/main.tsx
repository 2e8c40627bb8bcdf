// The console's beginning: what every page stands on.
import "./style.css";
import { CSPProvider } from "@base-ui/react/csp-provider";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { AdminConnectionError } from "@caracalai/admin";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { isSignedOut } from "./api.ts";
import { App } from "./app.tsx";
import { applyTheme } from "./theme.ts";

applyTheme();

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
// A call that finds nobody signed in shows the sign-in page in the place of every other.
const onError = (error: unknown) => {
  if (isSignedOut(error)) void queries.invalidateQueries({ queryKey: ["who"] });
};
const queries = new QueryClient({
  queryCache: new QueryCache({ onError: (error, query) => { if (query.queryKey[0] !== "who") onError(error); } }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: { queries: {
    retry: (count, error) => error instanceof AdminConnectionError && count < 2, staleTime: 2_000,
    // What could not be read because the control plane was away is asked for again until it is back.
    refetchInterval: (q) => (q.state.error instanceof AdminConnectionError ? 2_000 : false),
  } },
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <CSPProvider nonce={nonce}>
        <QueryClientProvider client={queries}>
          <Router base="/console"><App /></Router>
        </QueryClientProvider>
      </CSPProvider>
    </StrictMode>,
  );
}
