import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Cloud } from "./cloud";
import { Explore } from "./explore";
import type { Run } from "./model";
import { Overview } from "./overview";
import { Quality } from "./quality";
import { Runs } from "./runs";
import { findSource, readRun, told, words, type Standing } from "./source";
import { Start } from "./start";
import { States } from "./states";
import "./style.css";

const source = findSource();
const SCREENS = ["overview", "explore", "states", "quality"] as const;
const TITLES: Record<string, string> = { runs: "Runs", overview: "Overview", explore: "Explore", states: "States", quality: "Quality", start: "Start a run" };

function place(): { screen: string; name: string } {
  const [screen, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { screen: screen || "", name: new URLSearchParams(query).get("run") ?? "" };
}

const link = (screen: string, name: string) => `#/${screen}?${new URLSearchParams({ run: name })}`;

function App() {
  const [{ screen, name }, go] = useState(place());
  const [standing, stands] = useState<Standing | null>(null);
  const cards = standing?.runs ?? null;
  const [opened, open] = useState<{ run: Run; cloud: Cloud; name: string } | null>(null);
  const [trouble, tell] = useState("");
  const [lost, loses] = useState(false);

  useEffect(() => {
    const turn = () => { go(place()); tell(""); };
    addEventListener("hashchange", turn);
    source.standing().then(stands).catch((error) => tell(told(error)));
    return () => removeEventListener("hashchange", turn);
  }, []);

  useEffect(() => {
    if (!source.served) return;
    const events = new EventSource("events");
    events.addEventListener("state", (e) => { loses(false); stands(JSON.parse((e as MessageEvent).data)); });
    events.onopen = () => loses(false);
    events.onerror = () => loses(true);
    return () => events.close();
  }, []);

  useEffect(() => {
    if (cards?.length === 1 && !place().screen) location.replace(link("overview", cards[0]!.name));
  }, [cards, screen]);

  const version = cards?.find((card) => card.name === name)?.version;
  useEffect(() => {
    if (!name || !cards) return;
    let alive = true;
    readRun(source, name)
      .then((run) => alive && open({ run, name, cloud: new Cloud(source, name, run) }))
      .catch((error) => { if (alive) { open(null); tell(told(error)); } });
    return () => { alive = false; };
  }, [name, version, cards === null]);

  const chosen = screen || "runs";
  const here = opened && opened.name === name ? opened : null;
  useEffect(() => { document.title = `${here ? `${here.run.name}: ` : ""}${TITLES[chosen] ?? "Covaria"} - Covaria`; });
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>To the content</a>
      <header>
        <strong>Covaria</strong>
        <nav aria-label="Screens">
          {(!cards || cards.length !== 1 || source.served) && <a href="#/runs" aria-current={chosen === "runs" ? "page" : undefined}>Runs</a>}
          {name && SCREENS.map((one) => <a key={one} href={link(one, name)} aria-current={chosen === one ? "page" : undefined}>{TITLES[one]}</a>)}
          {source.served && <a href="#/start" aria-current={chosen === "start" ? "page" : undefined}>Start a run</a>}
        </nav>
        {here && <span class="quiet">{here.run.name}</span>}
      </header>
      {lost && <p class="warning" role="alert">The server does not answer. What is on this page stays; it comes back by itself when the server does.
        If `covaria view` was ended, start it again and open its new address: your selection is kept in this browser, and can be saved as JSON now.</p>}
      {trouble && <p class="warning" role="alert">{trouble} <button type="button" onClick={() => tell("")}>Close</button></p>}
      <main id="main" tabIndex={-1}>
        {chosen === "runs" ? <Runs cards={cards} link={link} canStart={!!standing?.jobs} onTrouble={tell} />
          : chosen === "start" ? standing && <Start source={source} started={standing.jobs?.started ?? null} />
          : !here ? <h1>{trouble ? "This run cannot be shown" : "Reading the run ..."}</h1>
          : <>
            {here.run.problems.map((one) => <p key={one.part} class="warning">{one.part}: {words(one.message, one.hint)}</p>)}
            {chosen === "overview" && <Overview source={source} name={name} run={here.run} explore={link("explore", name)} />}
            {chosen === "explore" && <Explore key={name} source={source} name={name} run={here.run} cloud={here.cloud} canStart={!!standing?.jobs} onTrouble={tell} />}
            {chosen === "states" && <States key={name} source={source} name={name} run={here.run} cloud={here.cloud} />}
            {chosen === "quality" && <Quality key={name} run={here.run} cloud={here.cloud} />}
          </>}
      </main>
    </>
  );
}

render(<App />, document.getElementById("page")!);
