// The part of report.html that moves. Where it cannot, the picture that stands there stays.
import { render } from "preact";
import { useState } from "preact/hooks";
import { Cloud } from "./cloud";
import { Explore } from "./explore";
import { canDraw, guest } from "./guest";
import type { Run } from "./model";
import { findSource, readRun } from "./source";

const source = findSource();
const host = document.getElementById("covaria-explore");

function Part({ run, cloud }: { run: Run; cloud: Cloud }) {
  const [trouble, tell] = useState("");
  return (
    <>
      {trouble && <p class="warning" role="alert">{trouble} <button type="button" onClick={() => tell("")}>Close</button></p>}
      <Explore source={source} name="." run={run} cloud={cloud} canStart={false} onTrouble={tell} />
    </>
  );
}

if (host && canDraw())
  readRun(source, ".").then((run) => {
    host.replaceChildren();
    render(<Part run={run} cloud={new Cloud(source, ".", run)} />, guest(host));
  }).catch((error) => {
    const words = document.createElement("p");
    words.textContent = `This part cannot be shown: ${error.message}`;
    host.append(words);
  });
