// What is selected, in words, and out as files.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Cloud } from "./cloud";
import { Choice } from "./explore";
import { category } from "./palettes";
import type { Run } from "./model";
import { described, joined, ofClusters, type Joint, type Term } from "./selection";
import { ask, keep, told, type Source } from "./source";
import { Thumbnails } from "./thumbnails";

const JOINTS: { name: Joint; label: string }[] = [{ name: "and", label: "and" }, { name: "or", label: "or" }, { name: "not", label: "and not" }];

export function SelectionPanel(props: {
  source: Source; name: string; run: Run; cloud: Cloud; terms: Term[]; chosen: Uint8Array | null; canStart: boolean;
  onChange: (terms: Term[]) => void; onUndo: (() => void) | null; onTrouble: (words: string) => void;
}) {
  const { terms, run } = props;
  const numbers = run.columns.filter((c) => c.selectable && !c.category);
  const [column, setColumn] = useState(numbers[0]?.name ?? "");
  const [low, setLow] = useState("");
  const [high, setHigh] = useState("");
  const [said, say] = useState("");
  const [called, call] = useState("");
  const count = useMemo(() => props.chosen?.reduce((sum, one) => sum + one, 0) ?? 0, [props.chosen]);
  const whole = joined(terms);
  const [reading, read] = useState(props.source.served);
  useEffect(() => {
    if (!props.source.served) return;
    props.source.get(`ready?${new URLSearchParams({ run: props.name })}`).then(() => performance.mark("ready"))
      .catch((error) => props.onTrouble(`Particles cannot be saved: ${told(error)}`)).finally(() => read(false));
  }, [props.name]);

  const threshold = (e: Event) => {
    e.preventDefault();
    const known = props.cloud.column(column)!;
    const [a, b] = [low === "" ? known.low : +low, high === "" ? known.high : +high];
    if (!(a <= b)) return props.onTrouble(`From ${low} to ${high}: the first must not exceed the second.`);
    props.onChange([...terms, { joint: "and", condition: { kind: "box", columns: [column], low: [a], high: [b] } }]);
  };
  const save = async () => {
    const begin = performance.now();
    say("writing ...");
    try {
      const answer = await ask("subset", props.name, whole);
      const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "particles";
      keep(name, await answer.blob());
      const particles = +(answer.headers.get("x-particles") ?? 0);
      say(`${particles.toLocaleString("en")} particles in ${name}, ${((performance.now() - begin) / 1000).toFixed(1)} s`);
      performance.measure("subset", { start: begin, end: performance.now() });
    } catch (error) {
      say("");
      props.onTrouble(told(error));
    }
  };

  const again = async (onlyMean: boolean) => {
    try {
      const job = await (await ask("again", props.name, { name: called, selection: whole, only_mean: onlyMean })).json();
      say(`started: ${job.line}. Runs shows how far it is.`);
      call("");
    } catch (error) {
      props.onTrouble(told(error));
    }
  };

  return (
    <div class="selection">
      <h2>Selection</h2>
      <form class="controls" onSubmit={threshold}>
        <label>column <Choice of={numbers} value={column} onChange={setColumn} /></label>
        <label>from <input type="number" step="any" value={low} onInput={(e) => setLow(e.currentTarget.value)} /></label>
        <label>to <input type="number" step="any" value={high} onInput={(e) => setHigh(e.currentTarget.value)} /></label>
        <button type="submit">Add the range</button>
      </form>
      {run.states.length > 0 && (
        <p class="chips" role="group" aria-label="Clusters">
          {run.states.map((state, k) => (
            <button key={k} type="button" class="chip" onClick={() => props.onChange([...terms, { joint: terms.length ? "or" : "and", condition: ofClusters([k]) }])}>
              <i style={{ background: category(k) }} /> cluster {k}, {(100 * state.share).toFixed(0)} %
            </button>
          ))}
        </p>
      )}
      <ol class="terms">
        {terms.map((term, k) => (
          <li key={k}>
            {(k > 0 || term.joint === "not") && (
              <label class="hidden-label"><span>how condition {k + 1} is joined</span>
                <Choice of={JOINTS} value={term.joint} onChange={(joint) => props.onChange(terms.map((t, i) => (i === k ? { ...t, joint: joint as Joint } : t)))} />
              </label>
            )}{" "}
            {described(term.condition)}{" "}
            {k === 0 && term.joint !== "not" && <button type="button" onClick={() => props.onChange(terms.map((t, i) => (i === 0 ? { ...t, joint: "not" } : t)))}>not</button>}{" "}
            <button type="button" aria-label={`Remove condition ${k + 1}`} onClick={() => props.onChange(terms.filter((_, i) => i !== k))}>Remove</button>
          </li>
        ))}
      </ol>
      <p role="status" class="count">
        {whole && !props.chosen ? "counting ..." : whole ? `${count.toLocaleString("en")} of ${run.drawn.toLocaleString("en")} ${run.sampled ? "drawn " : ""}particles (${((100 * count) / Math.max(run.drawn, 1)).toFixed(1)} %)` : "Nothing is selected: draw a region, add a range, or choose a cluster."}
      </p>
      <p class="controls">
        {props.source.served && <button type="button" disabled={!whole} onClick={save}>Save particles (STAR or .cs)</button>}
        <button type="button" disabled={!whole} onClick={() => keep("selection.json", JSON.stringify(whole, null, 2) + "\n")}>Save selection (JSON)</button>
        <button type="button" disabled={!props.onUndo} onClick={() => props.onUndo?.()}>Undo</button>
        <button type="button" disabled={!terms.length} onClick={() => props.onChange([])}>Clear</button>
      </p>
      <p role="status" class="quiet">{said || (reading ? "Reading the run's particle file: the first selection waits for it." : "")}</p>
      {!props.source.served && whole && <p class="quiet">The particles themselves: <code>covaria subset OUT --selection selection.json -o some</code></p>}
      {props.canStart && whole && (
        <form class="controls" onSubmit={(e) => e.preventDefault()}>
          <label>name <input type="text" value={called} onInput={(e) => call(e.currentTarget.value.trim())} /></label>
          <button type="button" disabled={!called} onClick={() => again(true)}>Reconstruct this selection</button>
          <button type="button" disabled={!called} onClick={() => again(false)}>Run again on it</button>
        </form>
      )}
      {props.source.served && <Thumbnails name={props.name} chosen={props.chosen} drawn={run.drawn} onTrouble={props.onTrouble} />}
    </div>
  );
}
