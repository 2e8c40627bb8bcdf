// The zone that the address names, and what pages ask of it again and again.
import { useQuery } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { api } from "./api.ts";

export const ZoneContext = createContext("");

/** The id of the zone that is looked at. */
export function useZone(): string {
  return useContext(ZoneContext);
}

export function usePolicies() {
  const zone = useZone();
  return useQuery({ queryKey: ["policies", zone], queryFn: ({ signal }) => api.policies.list(zone, {}, { signal }) });
}

export function useSets() {
  const zone = useZone();
  return useQuery({ queryKey: ["sets", zone], queryFn: ({ signal }) => api.policySets.list(zone, {}, { signal }) });
}

/** What governs the zone, looked at again every few seconds: others activate, too. */
export function useActive() {
  const zone = useZone();
  return useQuery({ queryKey: ["active", zone], queryFn: ({ signal }) => api.zones.active(zone, { signal }), refetchInterval: 2_000 });
}

export function useSetVersions(set: string | null | undefined) {
  const zone = useZone();
  return useQuery({
    queryKey: ["set-versions", zone, set], enabled: !!set,
    queryFn: ({ signal }) => api.policySets.pageVersions(zone, set ?? "", { limit: 500 }, { signal }),
    select: (page) => page.items,
  });
}

export function useSetVersion(set: string | null | undefined, version: string | null | undefined) {
  const zone = useZone();
  return useQuery({
    queryKey: ["set-version", zone, set, version], enabled: !!set && !!version, staleTime: Infinity,
    queryFn: ({ signal }) => api.policySets.getVersion(zone, set ?? "", version ?? "", { signal }),
  });
}

/** The zone's activations, the newest first, looked at again every few seconds. */
export function useActivations() {
  const zone = useZone();
  return useQuery({ queryKey: ["activations", zone], queryFn: ({ signal }) => api.zones.pageActivations(zone, { limit: 500 }, { signal }), refetchInterval: 5_000, select: (page) => page.items });
}

/** What a daemon says of itself, of the last minute or so; null where it says nothing. */
export interface Vitals { decisions_per_second: number; latency_p50_seconds: number | null; latency_p99_seconds: number | null }

export function vitalsOf(daemon: object): Vitals | null {
  return (daemon as { status?: Vitals | null }).status ?? null;
}

/** The zone's first daemons; a fleet may have ten thousand, which the fleet's page has by the page. */
export function useDaemons() {
  const zone = useZone();
  return useQuery({ queryKey: ["daemons", zone, "first"], queryFn: ({ signal }) => api.daemons.page(zone, { limit: 100 }, { signal }), refetchInterval: 2_000, select: (page) => page.items });
}
