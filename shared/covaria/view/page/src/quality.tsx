// How good are the particles, and do the half-sets agree?
import { useEffect, useState } from "preact/hooks";
import { Cloud, valueOf, type Values } from "./cloud";
import { histogram, robust } from "./density";
import type { Run } from "./model";
import { CATEGORIES } from "./palettes";
import { Axes, Bars, Heat } from "./plot";
import { MISSING } from "./scatter";

const HISTOGRAMS = ["contrast", "defocus_u_angstrom", "residual", "noise_level", "p_empty", "p_outlier", "weight"];
const BINS = 50;

export function Quality({ run, cloud }: { run: Run; cloud: Cloud }) {
  const [have, got] = useState<Record<string, Values>>({});
  const [trouble, tell] = useState("");
  const latent = run.columns.filter((c) => /^z\d+$/.test(c.name)).map((c) => c.name);
  const shown = HISTOGRAMS.filter((name) => cloud.column(name));
  useEffect(() => {
    const wanted = [...shown, ...latent, ...latent.map((name) => `${name}_error`), "half_set", "micrograph_number"].filter((name) => cloud.column(name));
    Promise.all(wanted.map((name) => cloud.values(name).then((values) => got((old) => ({ ...old, [name]: values }))))).catch((e) => tell(e.message));
  }, [cloud]);

  const even = run.views ? run.views.flat().reduce((a, b) => a + b, 0) / run.views.flat().length : 1;
  const empty = run.views ? run.views.flat().filter((n) => n === 0).length / run.views.flat().length : 0;
  return (
    <>
      <h1>Quality</h1>
      {trouble && <p class="warning">{trouble}</p>}
      <div class="columns">
        {run.views && (
          <div>
            <Heat label="Directions of view" xLabel="rot (degrees)" yLabel="cos(tilt)" x={[-180, 180]} y={[-1, 1]} unit="times an even distribution"
              rows={run.views.map((row) => row.map((n) => n / (even || 1)))} most={Math.max(1, ...run.views.flat()) / (even || 1)} />
            <p class="quiet">{(100 * empty).toFixed(0)} % of the sphere's bins are empty.</p>
          </div>
        )}
        {latent.map((name) => have[name] && have.half_set && <Halves key={name} values={have[name]!} half={have.half_set!} />)}
        {shown.map((name) => {
          const values = have[name];
          if (!values) return null;
          const [low, high] = robust(values);
          return <Bars key={name} label={`Histogram: ${values.column.label}`} xLabel={values.column.label} x={[low, high]}
            series={[{ name, counts: histogram(values, BINS, low, high), colour: CATEGORIES[0]! }]} />;
        })}
        {latent.length > 0 && latent.every((name) => have[`${name}_error`]) && <Errors latent={latent} have={have} />}
        {have.contrast && have.micrograph_number && <Micrographs values={have.contrast} number={have.micrograph_number} />}
      </div>
    </>
  );
}

function Halves({ values, half }: { values: Values; half: Values }) {
  const [low, high] = robust(values);
  const series = [1, 2].map((side) => ({
    name: `half-set ${side}`, colour: CATEGORIES[side - 1]!,
    counts: histogram(values, BINS, low, high, (i) => half.codes[i] === side),
  }));
  const moments = [1, 2].map((side) => {
    let [n, sum, square] = [0, 0, 0];
    values.codes.forEach((code, i) => {
      if (half.codes[i] !== side || code === MISSING) return;
      const v = valueOf(values.column, code);
      [n, sum, square] = [n + 1, sum + v, square + v * v];
    });
    const mean = sum / Math.max(n, 1);
    return { n, mean, sd: Math.sqrt(Math.max(square / Math.max(n, 1) - mean * mean, 0)) };
  });
  const [a, b] = moments as [(typeof moments)[0], (typeof moments)[0]];
  const apart = Math.abs(a.mean - b.mean) / Math.sqrt(a.sd ** 2 / Math.max(a.n, 1) + b.sd ** 2 / Math.max(b.n, 1) || 1);
  return (
    <div>
      <Bars label={`${values.column.label} by half-set`} xLabel={values.column.label} x={[low, high]} series={series} />
      <p class="quiet">Means {a.mean.toFixed(3)} and {b.mean.toFixed(3)}, {apart.toFixed(1)} standard errors apart; spreads {a.sd.toFixed(3)} and {b.sd.toFixed(3)}.</p>
    </div>
  );
}

function Errors({ latent, have }: { latent: string[]; have: Record<string, Values> }) {
  const spans = latent.map((name) => robust(have[`${name}_error`]!));
  const high = Math.max(...spans.map((span) => span[1]));
  return <Bars label="Errors of the coordinates" xLabel="standard error of a coordinate (sd of the motion)" x={[0, high]}
    series={latent.slice(0, 4).map((name, k) => ({ name: `component ${k + 1}`, colour: CATEGORIES[k]!, counts: histogram(have[`${name}_error`]!, BINS, 0, high) }))} />;
}

function Micrographs({ values, number }: { values: Values; number: Values }) {
  const sums = new Map<number, [number, number]>();
  number.codes.forEach((code, i) => {
    if (code === MISSING || values.codes[i] === MISSING) return;
    const [n, sum] = sums.get(code) ?? [0, 0];
    sums.set(code, [n + 1, sum + valueOf(values.column, values.codes[i]!)]);
  });
  if (sums.size < 2) return null;
  const means = [...sums].map(([code, [n, sum]]) => ({ code, n, mean: sum / n }));
  const [low, high] = [Math.min(...means.map((m) => m.mean)), Math.max(...means.map((m) => m.mean))];
  const last = Math.max(...means.map((m) => m.code));
  const step = Math.max(1, Math.floor(means.length / 2000));
  const frame = { width: 440, height: 240, x: [-0.5, last + 0.5] as [number, number], y: [low - 0.05 * (high - low), high + 0.05 * (high - low)] as [number, number] };
  const px = (v: number) => 52 + ((v - frame.x[0]) / (frame.x[1] - frame.x[0])) * 376;
  const py = (v: number) => 200 - ((v - frame.y[0]) / (frame.y[1] - frame.y[0])) * 190;
  return (
    <figure>
      <Axes {...frame} label="Mean contrast of each micrograph" xLabel="micrograph, in the file's order" yLabel="mean contrast">
        {means.filter((_, i) => i % step === 0).map((m) => <circle key={m.code} cx={px(m.code)} cy={py(m.mean)} r={2.5} fill={CATEGORIES[0]} fill-opacity={0.6} />)}
      </Axes>
    </figure>
  );
}
