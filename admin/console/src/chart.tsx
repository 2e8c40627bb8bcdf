// Decisions over time; an activation is a line across.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "react";

export interface ChartProps { times: number[]; allow: number[]; deny: number[]; activations: number[]; summary: string }

export default function Chart({ times, allow, deny, activations, summary }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const lines = useRef(activations);
  lines.current = activations;
  useEffect(() => {
    const el = host.current;
    if (!el) return;
    const colour = (name: string) => { const probe = document.createElement("i"); probe.style.color = `var(${name})`; el.append(probe); const c = getComputedStyle(probe).color; probe.remove(); return c; };
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const made = new uPlot({
      width: el.clientWidth, height: 190, cursor: { y: false }, axes: [axis, { ...axis, size: 44 }], scales: { x: { range: (_, from, to) => [from, Math.max(to, Date.now() / 1000)] }, y: { range: (_, __, max) => [0, Math.max(5, max * 1.1)] } },
      series: [{}, { label: "allow", points: { show: false }, stroke: colour("--good"), width: 2 }, { label: "deny", points: { show: false }, stroke: colour("--bad"), width: 2, dash: [6, 3] }],
      hooks: { draw: [(u) => {
        const { ctx, bbox } = u;
        ctx.save(); ctx.strokeStyle = colour("--accent"); ctx.lineWidth = 2;
        for (const at of lines.current) {
          const x = u.valToPos(at, "x", true);
          if (x >= bbox.left && x <= bbox.left + bbox.width) { ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke(); }
        }
        ctx.restore();
      }] },
    }, [[], [], []], el);
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: el.clientWidth, height: 190 }));
    sized.observe(el);
    return () => { sized.disconnect(); plot.current = null; made.destroy(); };
  }, []);
  useEffect(() => plot.current?.setData([times, allow, deny]), [times, allow, deny, activations]);
  return <figure><div ref={host} aria-hidden="true" /><figcaption className="unseen">{summary}</figcaption></figure>;
}
