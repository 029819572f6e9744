// Every run of the folder: what was found, or how far it is.
import type { Card } from "./model";
import { ask, words } from "./source";

const WORDS: Record<string, string> = {
  succeeded: "finished", running: "running", queued: "waiting", failed: "failed", cancelled: "cancelled",
  retrying: "will be tried again", parked: "parked: a person must look", unreadable: "cannot be read",
};

export function Runs(props: { cards: Card[] | null; canStart: boolean; link: (screen: string, name: string) => string; onTrouble: (words: string) => void }) {
  const { cards, link } = props;
  return (
    <>
      <h1>Runs</h1>
      {cards === null && <p role="status">looking ...</p>}
      {cards?.length === 0 && <p>No run of Covaria lies here. `covaria run particles.star -o FOLDER/NAME` makes one; it appears by itself.</p>}
      <ul class="cards">
        {cards?.map((card) => (
          <li key={card.name} class={`panel ${card.status}`}>
            <h2>{card.status === "unreadable" ? card.label : <a href={link("overview", card.name)}>{card.label}</a>}</h2>
            {card.picture && <img class="mean" loading="lazy" alt={`${card.label}: the mean map`} src={`picture?${new URLSearchParams({ run: card.name, version: card.version ?? "" })}`} />}
            <p><span class={`status ${card.status}`}>{WORDS[card.status] ?? card.status}</span>{card.status !== "succeeded" && card.stage ? ` in ${card.stage}` : ""}</p>
            {card.progress && <Progress {...card.progress} />}
            {card.said && <p class="quiet">{card.said}</p>}
            {props.canStart && card.status === "running" && (
              <button type="button" onClick={() => ask("cancel", card.name, {}).catch((error) => props.onTrouble(error.message))}>Cancel {card.label}</button>
            )}
            {card.headline && <p>{card.headline}</p>}
            {card.error && <p class="warning">{words(card.error, card.hint)}</p>}
            <p class="quiet">
              {card.used != null && card.particles != null && `${card.used.toLocaleString("en")} of ${card.particles.toLocaleString("en")} particles used. `}
              {card.resolution_angstrom != null && `Mean map ${card.resolution_angstrom.toFixed(1)} Å.`}
            </p>
            {card.warnings?.map((words) => <p key={words} class="warning">{words}</p>)}
          </li>
        ))}
      </ul>
    </>
  );
}

function Progress(props: { step: string; done: number; total: number; per_second?: number; seconds_left?: number }) {
  return (
    <p>
      <progress value={props.done} max={props.total || 1} aria-label={props.step} /> {props.step}
      {props.per_second ? `, ${Math.round(props.per_second).toLocaleString("en")}/s` : ""}
      {props.seconds_left != null ? `, ${Math.ceil(props.seconds_left / 60)} min left` : ""}
    </p>
  );
}
