// Within another page: styles of our own, none of its.
import styles from "./style.css?inline";

/** A place to draw in beneath `host`, whose styles neither come in nor go out. */
export function guest(host: HTMLElement): HTMLElement {
  const shadow = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const sheet = document.createElement("style");
  sheet.textContent = styles;
  const place = document.createElement("div");
  place.className = "covaria";
  shadow.replaceChildren(sheet, place);
  return place;
}

/** Whether maps can be added here. */
export function canDraw(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  const can = gl !== null && gl.getExtension("EXT_color_buffer_float") !== null;
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return can;
}
