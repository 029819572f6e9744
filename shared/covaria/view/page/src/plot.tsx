// Curves, bars and colour maps as SVG, with axes that say what they show.
import type { ComponentChildren } from "preact";
import { css, cividis } from "./palettes";

export function ticks(low: number, high: number, about = 5): number[] {
  const rough = (high - low) / about;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough)!;
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) found.push(Math.abs(t) < 1e-9 * step ? 0 : t);
  return found;
}

export const short = (value: number): string =>
  Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(4));

export interface Frame {
  width: number;
  height: number;
  x: [number, number];
  y: [number, number];
}

const EDGE = { left: 52, right: 12, top: 10, bottom: 40 };

export function Axes(props: Frame & { label: string; xLabel: string; yLabel: string; children?: ComponentChildren }) {
  const { width, height, x, y } = props;
  const px = (v: number) => EDGE.left + ((v - x[0]) / (x[1] - x[0])) * (width - EDGE.left - EDGE.right);
  const py = (v: number) => height - EDGE.bottom - ((v - y[0]) / (y[1] - y[0])) * (height - EDGE.top - EDGE.bottom);
  return (
    <svg class="plot" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={props.label}>
      {ticks(...x).map((t) => (
        <g key={`x${t}`}>
          <line x1={px(t)} x2={px(t)} y1={EDGE.top} y2={height - EDGE.bottom} class="grid" />
          <text x={px(t)} y={height - EDGE.bottom + 15} text-anchor="middle">{short(t)}</text>
        </g>
      ))}
      {ticks(...y).map((t) => (
        <g key={`y${t}`}>
          <line x1={EDGE.left} x2={width - EDGE.right} y1={py(t)} y2={py(t)} class="grid" />
          <text x={EDGE.left - 6} y={py(t) + 4} text-anchor="end">{short(t)}</text>
        </g>
      ))}
      <text x={(width + EDGE.left) / 2} y={height - 6} text-anchor="middle">{props.xLabel}</text>
      <text transform={`translate(12 ${(height - EDGE.bottom) / 2}) rotate(-90)`} text-anchor="middle">{props.yLabel}</text>
      {props.children}
    </svg>
  );
}

function places({ width, height, x, y }: Frame) {
  return {
    px: (v: number) => EDGE.left + ((v - x[0]) / (x[1] - x[0])) * (width - EDGE.left - EDGE.right),
    py: (v: number) => height - EDGE.bottom - ((v - y[0]) / (y[1] - y[0])) * (height - EDGE.top - EDGE.bottom),
  };
}

export function Lines(props: {
  label: string;
  xLabel: string;
  yLabel: string;
  x: number[];
  curves: { name: string; y: (number | null)[]; colour: string; dash?: string }[];
  yRange?: [number, number];
  level?: number;
  levelName?: string;
}) {
  const all = props.curves.flatMap((curve) => curve.y.filter((v): v is number => v !== null));
  const frame: Frame = {
    width: 440, height: 260,
    x: [props.x[0] ?? 0, props.x[props.x.length - 1] || 1],
    y: props.yRange ?? [Math.min(0, ...all), Math.max(...all, props.level ?? 0) * 1.08 || 1],
  };
  const { px, py } = places(frame);
  return (
    <figure>
      <Axes {...frame} label={props.label} xLabel={props.xLabel} yLabel={props.yLabel}>
        {props.level !== undefined && <line x1={px(frame.x[0])} x2={px(frame.x[1])} y1={py(props.level)} y2={py(props.level)} class="level" />}
        {props.curves.map((curve) => (
          <polyline key={curve.name} fill="none" stroke={curve.colour} stroke-width="2" stroke-dasharray={curve.dash}
            points={curve.y.map((v, i) => (v === null ? "" : `${px(props.x[i]!)},${py(v)}`)).join(" ")} />
        ))}
      </Axes>
      <figcaption>
        {props.curves.map((curve) => (
          <span key={curve.name} class="key"><i style={{ background: curve.colour }} /> {curve.name}</span>
        ))}
        {props.levelName && <span class="key"><i class="dashed" /> {props.levelName}</span>}
      </figcaption>
    </figure>
  );
}

export function Bars(props: {
  label: string;
  xLabel: string;
  yLabel?: string;
  x: [number, number];
  series: { name: string; counts: number[]; colour: string }[];
  level?: number;
}) {
  const most = Math.max(1, props.level ?? 0, ...props.series.flatMap((one) => one.counts));
  const least = Math.min(0, ...props.series.flatMap((one) => one.counts));
  const frame: Frame = { width: 440, height: 240, x: props.x, y: [least * 1.05, most * 1.05] };
  const { px, py } = places(frame);
  return (
    <figure>
      <Axes {...frame} label={props.label} xLabel={props.xLabel} yLabel={props.yLabel ?? "particles"}>
        {props.series.map((one) => {
          const step = (props.x[1] - props.x[0]) / one.counts.length;
          return (
            <g key={one.name} fill={one.colour} fill-opacity={props.series.length > 1 ? 0.55 : 0.9}>
              {one.counts.map((count, i) => (
                <rect key={i} x={px(props.x[0] + i * step) + 0.5} width={Math.max(px(step) - px(0) - 1, 0.5)}
                  y={py(Math.max(count, 0))} height={Math.abs(py(0) - py(count))} />
              ))}
            </g>
          );
        })}
        {props.level !== undefined && <line x1={px(frame.x[0])} x2={px(frame.x[1])} y1={py(props.level)} y2={py(props.level)} class="level" />}
      </Axes>
      {props.series.length > 1 && (
        <figcaption>
          {props.series.map((one) => <span key={one.name} class="key"><i style={{ background: one.colour }} /> {one.name}</span>)}
        </figcaption>
      )}
    </figure>
  );
}

/** rows from the bottom; each cell coloured by its value over `most`. */
export function Heat(props: {
  label: string; xLabel: string; yLabel: string; rows: number[][]; x: [number, number]; y: [number, number];
  most: number; unit: string; children?: ComponentChildren;
}) {
  const frame: Frame = { width: 440, height: 260, x: props.x, y: props.y };
  const { px, py } = places(frame);
  const [nx, ny] = [props.rows[0]?.length ?? 1, props.rows.length];
  const [dx, dy] = [(props.x[1] - props.x[0]) / nx, (props.y[1] - props.y[0]) / ny];
  return (
    <figure>
      <Axes {...frame} label={props.label} xLabel={props.xLabel} yLabel={props.yLabel}>
        {props.rows.flatMap((row, j) => row.map((value, i) => (
          <rect key={`${i} ${j}`} x={px(props.x[0] + i * dx)} y={py(props.y[0] + (j + 1) * dy)} fill={css(cividis(value / props.most))}
            width={px(dx) - px(0) + 0.4} height={py(0) - py(dy) + 0.4} />
        )))}
      </Axes>
      <figcaption>
        <span class="key"><i style={{ background: css(cividis(0)) }} /> 0</span>
        <span class="key"><i style={{ background: css(cividis(1)) }} /> {short(props.most)} {props.unit}</span>
      </figcaption>
    </figure>
  );
}
