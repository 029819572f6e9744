// What was found, on one screen.
import { useState } from "preact/hooks";
import { MapPanel } from "./map";
import { population, type Run } from "./model";
import { CATEGORIES } from "./palettes";
import { Bars, Lines } from "./plot";
import { words, type Source } from "./source";

export function Overview(props: { source: Source; name: string; run: Run; explore: string | null }) {
  const { run } = props;
  const [state, choose] = useState<number | null>(null);
  const rest: Record<string, string> = {
    failed: "This run failed.", cancelled: "This run was cancelled.",
    running: "This run is not finished: what follows is what is there so far.",
    queued: "This run is not finished: what follows is what is there so far.",
  };
  const zeros = new Array(run.confirmed).fill(0);
  return (
    <>
      <h1>{rest[run.status] ?? run.headline}</h1>
      {run.error && <p class="warning">{words(run.error.message, run.error.hint)}</p>}
      {rest[run.status] && <p>{run.headline}</p>}
      <ul>
        {[...run.lines, ...run.notes].map((line) => <li key={line} class={line.startsWith("Warning: ") ? "warning" : undefined}>{line}</li>)}
      </ul>
      {run.confirmed > 0 && props.explore && <p><a class="button" href={props.explore}>Explore: move through the cloud and watch the map</a></p>}
      <div class="columns">
        {run.maps && (
          <div>
            <MapPanel source={props.source} name={props.name} run={run} pins={[]}
              shown={{ z: state === null ? zeros : run.states[state]!.z, state }} words={state === null ? "the mean map" : `state ${state}`} />
          </div>
        )}
        {run.curves && (
          <Lines label="FSC of the mean map" xLabel="spatial frequency (1/Å)" yLabel="FSC" x={run.curves.frequency} yRange={[-0.1, 1.05]} level={0.143} levelName="0.143"
            curves={[
              { name: "inside the mask", y: run.curves.fsc, colour: CATEGORIES[0]! },
              { name: "whole box", y: run.curves.fsc_unmasked, colour: CATEGORIES[1]!, dash: "6 3" },
            ]} />
        )}
        {run.curves && run.curves.z_scores.length > 0 && (
          <Bars label="Held-out z-score of each component" xLabel="component" yLabel="held-out z-score" level={run.threshold}
            x={[0.5, run.curves.z_scores.length + 0.5]} series={[{ name: "z", counts: run.curves.z_scores.map((z) => z ?? 0), colour: CATEGORIES[0]! }]} />
        )}
      </div>
      {run.states.length > 0 && (
        <section>
          <h2>States</h2>
          <table>
            <thead><tr><th>state</th><th>particles</th><th>share</th><th>population (90 % interval)</th><th>resolution (FSC 1/7)</th><th>preview against it</th><th>map</th></tr></thead>
            <tbody>
              {run.states.map((one, k) => (
                <tr key={one.name}>
                  <td><button type="button" aria-pressed={state === k} disabled={!one.mrc || !run.maps} onClick={() => choose(state === k ? null : k)}>show {one.name}</button></td>
                  <td>{one.particles.toLocaleString("en")}</td>
                  <td>{(100 * one.share).toFixed(1)} %</td>
                  <td>{one.population ? population(one) : "not estimated"}</td>
                  <td>{one.resolution_angstrom === null ? "" : `${one.resolution_angstrom.toFixed(1)} Å`}</td>
                  <td>{one.agreement ? `correlation ${one.agreement.maps.toFixed(4)}` : "not made"}</td>
                  <td>{one.mrc && (props.source.served ? <a href={`map?${new URLSearchParams({ run: props.name, name: one.mrc })}`}>{one.mrc}</a> : <code>{one.mrc}</code>)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <section>
        <h2>The run</h2>
        <pre tabIndex={0}>{run.command}</pre>
        <table>
          <thead><tr>{["stage", "status", "time", "rate", "memory", "device"].map((name) => <th key={name}>{name}</th>)}</tr></thead>
          <tbody>{run.stages.map((row) => <tr key={row[0]}>{row.map((cell, i) => <td key={i}>{cell}</td>)}</tr>)}</tbody>
        </table>
        {props.source.served && <p><a href={`report?${new URLSearchParams({ run: props.name })}`}>report.html, with every figure</a></p>}
        {run.next.length > 0 && <><h3>Next</h3><pre tabIndex={0}>{run.next.join("\n")}</pre></>}
      </section>
    </>
  );
}
