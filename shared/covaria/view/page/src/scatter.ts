// Points by the graphics card: two columns as coordinates, one as colour, one byte that says which are selected.
import { context, program, type Uniforms } from "./gl";
import { paletteTexels } from "./palettes";

export const MISSING = 65535;
export const LEVELS = 65534;

export interface Window2 {
  low: [number, number];
  high: [number, number];
}

const VERTEX = `
in float x, y, shade, chosen;
uniform vec2 low, high;   // of the window, in codes
uniform float size;
uniform bool category, dim;
uniform sampler2D palette;
out vec4 tint;
void main() {
  bool gone = x > 65534.5 || y > 65534.5;
  vec2 place = (vec2(x, y) - low) / (high - low);
  gl_Position = gone ? vec4(2.0) : vec4(2.0 * place - 1.0, 0.0, 1.0);
  gl_PointSize = chosen > 0.5 && dim ? size + 1.0 : size;
  int entry = category ? int(mod(shade, 256.0)) : int(shade / 65534.0 * 255.0);
  vec3 colour = shade > 65534.5 ? vec3(0.75) : texelFetch(palette, ivec2(entry, category ? 1 : 0), 0).rgb;
  if (dim && chosen < 0.5) colour = mix(colour, vec3(0.93), 0.85);
  tint = vec4(colour, 1.0);
}`;

const FRAGMENT = `
in vec4 tint;
uniform float alpha;
out vec4 colour;
void main() {
  vec2 away = 2.0 * gl_PointCoord - 1.0;
  if (dot(away, away) > 1.0) discard;
  colour = vec4(tint.rgb, alpha);
}`;

type Name = "x" | "y" | "shade" | "chosen";

export class ScatterView {
  readonly gl: WebGL2RenderingContext;
  private readonly drawn: [WebGLProgram, Uniforms];
  private readonly buffers = {} as Record<Name, WebGLBuffer>;
  private count = 0;
  private category = false;
  private dim = false;

  constructor(readonly canvas: HTMLCanvasElement) {
    const gl = (this.gl = context(canvas));
    this.drawn = program(gl, VERTEX, FRAGMENT);
    for (const name of ["x", "y", "shade", "chosen"] as Name[]) {
      const buffer = (this.buffers[name] = gl.createBuffer()!);
      const place = gl.getAttribLocation(this.drawn[0], name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 1, name === "chosen" ? gl.UNSIGNED_BYTE : gl.UNSIGNED_SHORT, false, 0, 0);
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 2, 0, gl.RGBA, gl.UNSIGNED_BYTE, paletteTexels());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  points(x: Uint16Array, y: Uint16Array): void {
    this.count = x.length;
    this.put("x", x);
    this.put("y", y);
  }

  colours(codes: Uint16Array, category: boolean): void {
    this.category = category;
    this.put("shade", codes);
  }

  chosen(mask: Uint8Array, dim: boolean): void {
    this.dim = dim;
    this.put("chosen", mask);
  }

  /** Draw the first `most` points; the window is in codes. */
  draw(shown: Window2, most = this.count): void {
    const gl = this.gl;
    const [used, at] = this.drawn;
    const count = Math.min(most, this.count);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(1, 1, 1, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(used);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.uniform2fv(at.low!, shown.low);
    gl.uniform2fv(at.high!, shown.high);
    gl.uniform1f(at.size!, count > 200_000 ? 1.5 : count > 20_000 ? 2.5 : 5);
    gl.uniform1f(at.alpha!, count > 200_000 ? 0.25 : count > 20_000 ? 0.45 : 0.75);
    gl.uniform1i(at.category!, this.category ? 1 : 0);
    gl.uniform1i(at.dim!, this.dim ? 1 : 0);
    gl.uniform1i(at.palette!, 0);
    gl.drawArrays(gl.POINTS, 0, count);
  }

  private put(name: Name, values: Uint16Array | Uint8Array): void {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, values, this.gl.STATIC_DRAW);
  }
}
