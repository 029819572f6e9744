// A new run: choose particles, see what was understood of them, five options, the command line, run.
import { useEffect, useState } from "preact/hooks";
import { ask, told as inWords, type Started, type Source } from "./source";

interface OptionOf { name: string; flag: string; help: string; panel: string; default: string; truth: boolean; first: boolean }
interface Choices { options: OptionOf[]; particles: string[]; folder: string }
interface Verdict { summary: Record<string, unknown> & { notes?: string[]; missing?: Record<string, unknown[]> }; complete: boolean; picture: string | null; why: string }

export function Start(props: { source: Source; started: Started[] | null }) {
  const [choices, choose] = useState<Choices | null>(null);
  const [particles, take] = useState("");
  const [verdict, judge] = useState<Verdict | null>(null);
  const [name, call] = useState("");
  const [said, say] = useState<Record<string, string>>({});
  const [line, write] = useState("");
  const [trouble, tell] = useState("");
  const [busy, work] = useState(false);

  const told = (error: unknown) => tell(inWords(error));
  useEffect(() => { if (props.started) props.source.get<Choices>("choices").then(choose).catch(told); }, [props.started === null]);
  const form = { particles, name, said };
  useEffect(() => {
    write("");
    if (!particles || !name) return;
    const soon = setTimeout(() => ask("line", "", form).then((answer) => answer.json()).then((found) => { write(found.line); tell(""); }).catch(told), 300);
    return () => clearTimeout(soon);
  }, [particles, name, said]);

  if (!props.started)
    return (
      <>
        <h1>Start a run</h1>
        <p>This page only reads. Started with <code>covaria view FOLDER --allow-jobs</code> it starts runs too; at any terminal:</p>
        <pre tabIndex={0}>covaria inspect particles.star{"\n"}covaria run particles.star -o out</pre>
      </>
    );
  const look = () => {
    work(true);
    judge(null);
    props.source.get<Verdict>(`verdict?${new URLSearchParams({ path: particles })}`).then((found) => { judge(found); tell(""); }).catch(told).finally(() => work(false));
  };
  const set = (option: OptionOf, text: string) => {
    const next = { ...said };
    if (text === option.default || text === "") delete next[option.name];
    else next[option.name] = text;
    say(next);
  };
  const start = (e: Event) => {
    e.preventDefault();
    work(true);
    ask("start", "", form).then(() => { tell(""); call(""); }).catch(told).finally(() => work(false));
  };
  const one = (option: OptionOf) => (
    <div class="option" key={option.name}>
      <label>{option.flag}{" "}
        {option.truth
          ? <select value={said[option.name] ?? option.default} onChange={(e) => set(option, e.currentTarget.value)}><option>false</option><option>true</option></select>
          : <input type="text" value={said[option.name] ?? ""} placeholder={option.default} onInput={(e) => set(option, e.currentTarget.value)} />}
      </label>
      <span class="quiet">{option.help}</span>
    </div>
  );
  return (
    <>
      <h1>Start a run</h1>
      {trouble && <p class="warning" role="alert">{trouble}</p>}
      <form class="panel" onSubmit={start}>
        <div class="controls">
          <label>particles <input type="text" class="long" list="files" value={particles} placeholder="/data/particles.star" onInput={(e) => { take(e.currentTarget.value.trim()); judge(null); }} /></label>
          <datalist id="files">{choices?.particles.map((path) => <option key={path} value={path} />)}</datalist>
          <button type="button" disabled={!particles || busy} onClick={look}>Look at them</button>
        </div>
        {choices && <p class="quiet">{choices.particles.length} particle files lie beneath {choices.folder}: type to choose.</p>}
        {verdict && <Judged verdict={verdict} />}
        <label>name of the run <input type="text" value={name} onInput={(e) => call(e.currentTarget.value.trim())} /></label>
        {choices?.options.filter((o) => o.first).map(one)}
        <details>
          <summary>All other options</summary>
          {[...new Set(choices?.options.filter((o) => !o.first).map((o) => o.panel))].map((panel) => (
            <fieldset key={panel}><legend>{panel}</legend>{choices!.options.filter((o) => !o.first && o.panel === panel).map(one)}</fieldset>
          ))}
        </details>
        <h2>The command line</h2>
        <pre tabIndex={0}>{line || "choose particles and a name"}</pre>
        <button type="submit" disabled={!line || busy}>Run it</button>
      </form>
      <section aria-label="Started from here" aria-live="polite">
        {props.started.length > 0 && <h2>Started from here</h2>}
        {props.started.map((job, k) => (
          <div class="panel" key={k}>
            <p><span class={`status ${job.status}`}>{job.name}: {job.status === "succeeded" ? "ended well" : job.status}</span></p>
            <pre tabIndex={0}>{job.line}</pre>
            {job.said && <pre tabIndex={0}>{job.said.split("\n").slice(-6).join("\n")}</pre>}
          </div>
        ))}
      </section>
    </>
  );
}

function Judged({ verdict }: { verdict: Verdict }) {
  const { summary } = verdict;
  const missing = Object.entries(summary.missing ?? {}).filter(([, list]) => list?.length);
  const facts = (["particles", "in_use", "box_pixels", "pixel_size_angstrom", "micrographs"] as const).filter((key) => summary[key] != null);
  return (
    <div>
      <p><strong>{verdict.complete ? "Complete: a run can use it." : "Not complete."}</strong></p>
      <table><tbody>{facts.map((key) => <tr key={key}><th scope="row">{key.replaceAll("_", " ")}</th><td>{String(summary[key])}</td></tr>)}</tbody></table>
      {missing.map(([what, list]) => <p key={what} class="warning">missing for {what}: {list.slice(0, 5).map(String).join(", ")}</p>)}
      <ul>{summary.notes?.map((note) => <li key={note}>{note}</li>)}</ul>
      {verdict.picture ? <img class="wide-picture" src={verdict.picture} alt="Some of the images" /> : <p class="quiet">No picture: {verdict.why}</p>}
    </div>
  );
}
