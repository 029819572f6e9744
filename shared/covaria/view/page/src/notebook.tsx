// The widget of `run.view()`: the same screens in a notebook, asking the kernel for their files.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Cloud } from "./cloud";
import { Explore } from "./explore";
import { canDraw, guest } from "./guest";
import type { Run } from "./model";
import { Overview } from "./overview";
import { Quality } from "./quality";
import { Told, onlyServed, readRun, told, words, type Source, type Standing } from "./source";
import { States } from "./states";

/** What a notebook gives a widget (anywidget's AnyModel). */
interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(event: string, called: (...given: never[]) => void): void;
  off(event: string, called: (...given: never[]) => void): void;
}

interface Answer {
  id: number;
  message?: string;
  hint?: string;
}

const GONE = "Run the cell again: a kernel that was started anew knows nothing of this view.";

/** Files by messages to the kernel and back. */
class Kernel implements Source {
  readonly served = false;
  private readonly open = new Map<number, { give: (file: ArrayBuffer) => void; fail: (error: Error) => void }>();
  private last = 0;

  constructor(private readonly notebook: Model) {
    notebook.on("msg:custom", this.heard);
  }

  private heard = (answer: Answer, buffers: DataView[]): void => {
    const asked = this.open.get(answer.id);
    this.open.delete(answer.id);
    if (answer.message !== undefined) return asked?.fail(new Told(answer.message, answer.hint ?? GONE));
    const { buffer, byteOffset, byteLength } = buffers[0]!;
    asked?.give(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
  };

  file(_: string, name: string): Promise<ArrayBuffer> {
    const id = ++this.last;
    return new Promise((give, fail) => {
      this.open.set(id, { give, fail });
      this.notebook.send({ id, name });
    });
  }

  standing = (): Promise<Standing> => onlyServed();
  get = onlyServed;
  end = (): void => this.notebook.off("msg:custom", this.heard);
}

const SCREENS = ["Explore", "Overview", "States", "Quality"] as const;

function View({ source, model }: { source: Kernel; model: Model }) {
  const [run, have] = useState<Run | null>(null);
  const [cloud, draw] = useState<Cloud | null>(null);
  const [screen, go] = useState<string>(SCREENS[0]);
  const [trouble, tell] = useState("");
  useEffect(() => {
    readRun(source, ".").then((read) => { have(read); draw(new Cloud(source, ".", read)); })
      .catch((error) => tell(told(error)));
  }, [source]);
  const said = (name: string, value: unknown) => {
    model.set(name, value);
    model.save_changes();
  };
  return (
    <>
      <p class="controls" role="group" aria-label="Screens">
        {SCREENS.map((one) => <button key={one} type="button" aria-pressed={screen === one} onClick={() => go(one)}>{one}</button>)}
      </p>
      {trouble && <p class="warning" role="alert">{trouble} <button type="button" onClick={() => tell("")}>Close</button></p>}
      {run?.problems.map((one) => <p key={one.part} class="warning">{one.part}: {words(one.message, one.hint)}</p>)}
      {!run || !cloud ? <p>{trouble ? "" : "Reading the run ..."}</p>
        : screen === "Overview" ? <Overview source={source} name="." run={run} explore={null} />
        : screen === "States" ? <States source={source} name="." run={run} cloud={cloud} />
        : screen === "Quality" ? <Quality run={run} cloud={cloud} />
        : <Explore source={source} name="." run={run} cloud={cloud} canStart={false} onTrouble={tell}
            onSelection={(selection) => said("selection_json", selection ? JSON.stringify(selection) : "")}
            onPoint={(z) => said("point", z)} />}
    </>
  );
}

export default {
  render({ model, el }: { model: Model; el: HTMLElement }) {
    const place = guest(el);
    if (!canDraw()) {
      place.textContent = "This browser offers no WebGL 2 with EXT_color_buffer_float: turn on its graphics acceleration.";
      return undefined;
    }
    const source = new Kernel(model);
    render(<View source={source} model={model} />, place);
    return () => {
      source.end();
      render(null, place);
    };
  },
};
