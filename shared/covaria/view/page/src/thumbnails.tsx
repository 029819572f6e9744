// Images of particles beside the model's projections: how junk is seen.
import { useState } from "preact/hooks";
import { ask, told } from "./source";

const MOST = 48;

interface Sprite {
  picture: string;
  columns: number;
  side: number;
  rows: number[];
  correlations: number[];
}

export function Thumbnails(props: { name: string; chosen: Uint8Array | null; drawn: number; onTrouble: (words: string) => void }) {
  const [sprite, show] = useState<Sprite | null>(null);
  const [from, begin] = useState(0);
  const [busy, work] = useState(false);
  const look = async (start: number) => {
    const at: number[] = [];
    let i = start;
    for (; i < props.drawn && at.length < MOST; i++) if (!props.chosen || props.chosen[i]) at.push(i);
    if (!at.length) return begin(0);
    work(true);
    try {
      show(await (await ask("thumbnails", props.name, { at })).json());
      begin(i);
    } catch (error) {
      props.onTrouble(told(error));
    }
    work(false);
  };
  const middle = sprite ? [...sprite.correlations].sort((a, b) => a - b)[sprite.correlations.length >> 1]! : 0;
  return (
    <div class="thumbnails">
      <p class="controls">
        <button type="button" disabled={busy} onClick={() => look(0)}>{busy ? "reading images ..." : `Look at ${MOST} of ${props.chosen ? "the selected" : "all"} particles`}</button>
        {sprite && <button type="button" disabled={busy} onClick={() => look(from)}>{MOST} others</button>}
      </p>
      {sprite && (
        <figure>
          <img class="thumbs" src={sprite.picture}
            alt={`${sprite.rows.length} particles, each beside the projection of the map at its own point; median correlation ${middle.toFixed(2)}`} />
          <figcaption>Each image beside the map at its own point, from its pose, through its CTF; both low-passed.
            Median correlation {middle.toFixed(2)}, lowest {Math.min(...sprite.correlations).toFixed(2)} (row {sprite.rows[sprite.correlations.indexOf(Math.min(...sprite.correlations))]}).</figcaption>
        </figure>
      )}
    </div>
  );
}
