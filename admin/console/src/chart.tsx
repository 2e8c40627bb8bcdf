// Decisions over time; an activation is a line across, with its name.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useEffect, useRef, useState } from "react";

export interface ChartProps { times: number[]; allow: number[]; deny: number[]; activations: { at: number; label: string }[]; summary: string }

/** Counts up whenever the page's colours change. */
function useColours(): number {
  const [changes, count] = useState(0);
  useEffect(() => {
    const changed = () => count((n) => n + 1);
    const system = matchMedia("(prefers-color-scheme: dark)"), chosen = new MutationObserver(changed);
    system.addEventListener("change", changed);
    chosen.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => { system.removeEventListener("change", changed); chosen.disconnect(); };
  }, []);
  return changes;
}

export default function Chart({ times, allow, deny, activations, summary }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const lines = useRef(activations);
  const data = useRef<uPlot.AlignedData>([[], [], []]);
  const colours = useColours();
  lines.current = activations;
  data.current = [times, allow, deny];
  useEffect(() => {
    const el = host.current;
    if (!el) return;
    const colour = (value: string) => { const probe = document.createElement("i"); probe.style.color = value; el.append(probe); const c = getComputedStyle(probe).color; probe.remove(); return c; };
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize), height = Math.round(rem * 15);
    const font = `${Math.round(rem * 0.8)}px system-ui, sans-serif`;
    const axis = { stroke: colour("var(--soft)"), font, grid: { stroke: colour("var(--line)"), width: 1 }, ticks: { show: false } };
    const tint = (name: string) => colour(`color-mix(in srgb, var(${name}) 16%, transparent)`);
    const made = new uPlot({
      width: el.clientWidth, height, cursor: { y: false }, padding: [rem * 1.4, rem, 0, 0],
      axes: [{ ...axis, space: rem * 6 }, { ...axis, size: rem * 3.2 }],
      scales: { x: { range: (_, from, to) => [from, Math.max(to, Date.now() / 1000)] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
      series: [{ label: "Time" },
        { label: "allowed a second", points: { show: false }, stroke: colour("var(--good)"), fill: tint("--good"), width: 2 },
        { label: "denied a second", points: { show: false }, stroke: colour("var(--bad)"), fill: tint("--bad"), width: 2, dash: [6, 3] }],
      hooks: { draw: [(u) => {
        const { ctx, bbox } = u, scale = devicePixelRatio;
        ctx.save(); ctx.strokeStyle = ctx.fillStyle = colour("var(--accent)"); ctx.lineWidth = 1.5 * scale; ctx.setLineDash([]); ctx.textAlign = "left"; ctx.textBaseline = "alphabetic"; ctx.font = `600 ${Math.round(rem * 0.8 * scale)}px system-ui, sans-serif`;
        let free = -Infinity;
        for (const { at, label } of lines.current.toSorted((a, b) => a.at - b.at)) {
          const x = u.valToPos(at, "x", true), wide = ctx.measureText(label).width;
          if (x < bbox.left || x > bbox.left + bbox.width) continue;
          ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
          const from = Math.min(x - wide / 2, bbox.left + bbox.width - wide); // at the right edge it ends there
          if (from > free) { ctx.fillText(label, from, bbox.top - 5 * scale); free = from + wide + 6 * scale; }
        }
        ctx.restore();
      }] },
    }, data.current, el);
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: el.clientWidth, height }));
    sized.observe(el);
    return () => { sized.disconnect(); plot.current = null; made.destroy(); };
  }, [colours]);
  useEffect(() => plot.current?.setData([times, allow, deny]), [times, allow, deny, activations]);
  return <figure className="chart"><div ref={host} aria-hidden="true" /><figcaption className="unseen">{summary}</figcaption></figure>;
}
