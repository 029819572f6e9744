// The map at a latent point, on the viewer's own graphics card: mean + sum_k z_k (d_k u_k), added once for each point
// into one texture (value, difference from the mean), then looked at along rays. No server is asked for a frame.
import { WHOLE, context, program, texture3d, type Uniforms } from "./gl";
import type { Level, Maps } from "./model";
import { Told } from "./source";

const MOST_COMPONENTS = 23;

function sumShader(groups: number): string {
  const terms = Array.from({ length: groups }, (_, g) => `
  t = texelFetch(maps${g}, voxel, 0); v += dot(t, gain[${g}]); d += dot(t, differ[${g}]);`).join("");
  const samplers = Array.from({ length: groups }, (_, g) => `uniform sampler3D maps${g};`).join("\n");
  return `${samplers}
uniform vec4 gain[${groups}], differ[${groups}];
uniform float base, baseDiffer;
uniform int layer;
out vec4 sum;
void main() {
  ivec3 voxel = ivec3(gl_FragCoord.xy, layer);
  float v = base, d = baseDiffer; vec4 t;${terms}
  sum = vec4(v, d, 0.0, 1.0);
}`;
}

const STATE = `uniform sampler3D state, maps0;
uniform vec2 range, meanRange;
uniform int layer;
out vec4 sum;
void main() {
  ivec3 voxel = ivec3(gl_FragCoord.xy, layer);
  float v = range.x + range.y * texelFetch(state, voxel, 0).r;
  sum = vec4(v, v - (meanRange.x + meanRange.y * texelFetch(maps0, voxel, 0).r), 0.0, 1.0);
}`;

const COLOUR = `
uniform sampler3D field;
uniform vec3 size;        // voxels
uniform float level, contrast;
uniform int colouring;    // 0 plain, 1 difference from the mean
vec3 shade(vec2 value) {
  if (colouring == 0) return vec3(0.66, 0.80, 0.93);
  float d = clamp(value.y * contrast, -1.0, 1.0);
  return d < 0.0 ? mix(vec3(0.92), vec3(0.0, 0.45, 0.70), -d) : mix(vec3(0.92), vec3(0.84, 0.37, 0.0), d);
}`;

const RAYS = `${COLOUR}
uniform mat3 axes;        // columns: right, up, towards the viewer; voxels
uniform vec3 centre;      // of the whole box, in voxels of the crop
uniform float reach;      // half the canvas' height, voxels
uniform float aspect;
in vec2 at;
out vec4 colour;
vec2 value(vec3 p) { return texture(field, p / size).rg; }
void main() {
  colour = vec4(1.0);
  vec2 place = (2.0 * at - 1.0) * vec2(aspect, 1.0) * reach;
  vec3 from = centre + axes[0] * place.x + axes[1] * place.y, way = -axes[2];
  vec3 a = (vec3(0.5) - from) / way, b = (size - 0.5 - from) / way;
  vec3 near = min(a, b), far = max(a, b);
  float t = max(near.x, max(near.y, near.z)), end = min(far.x, min(far.y, far.z));
  float last = 0.0; bool hit = false;
  for (int i = 0; i < 640 && t < end; i++) {
    last = value(from + way * t).r;
    if (last > level) { hit = true; break; }
    t += last < 0.15 * level ? 2.0 : last < 0.5 * level ? 1.25 : 0.75;
  }
  if (!hit) return;
  float low = t - 2.0, high = t;
  for (int i = 0; i < 6; i++) {
    float middle = 0.5 * (low + high);
    if (value(from + way * middle).r > level) high = middle; else low = middle;
  }
  vec3 p = from + way * high;
  vec2 e = vec2(1.0, 0.0);
  vec3 slope = vec3(
    value(p + e.xyy).r - value(p - e.xyy).r, value(p + e.yxy).r - value(p - e.yxy).r, value(p + e.yyx).r - value(p - e.yyx).r);
  vec3 normal = -normalize(slope + 1e-12);
  vec3 light = normalize(axes * vec3(-0.45, 0.55, 0.70));
  float depth = clamp(dot(p - centre, axes[2]) / reach, -1.0, 1.0);
  float lit = (0.40 + 0.60 * max(dot(normal, light), 0.0)) * (0.89 + 0.11 * depth);
  colour = vec4(shade(value(p)) * lit, 1.0);
}`;

const SLICES = `${COLOUR}
uniform vec2 shown;       // black, white
uniform vec3 cuts;        // voxels
in vec2 at;
out vec4 colour;
void main() {
  float panel = floor(at.x * 3.0);
  vec2 p = vec2(at.x * 3.0 - panel, at.y);
  vec3 where = panel < 1.0 ? vec3(p.x * size.x, p.y * size.y, cuts.z)
    : panel < 2.0 ? vec3(p.x * size.x, cuts.y, p.y * size.z) : vec3(cuts.x, p.x * size.y, p.y * size.z);
  vec2 v = texture(field, where / size).rg;
  float grey = clamp((v.r - shown.x) / (shown.y - shown.x), 0.0, 1.0);
  vec3 tint = colouring == 0 ? vec3(1.0) : shade(v) / 0.92;
  colour = vec4(grey * min(tint, vec3(1.0)), 1.0);
  if (abs(v.r - level) < fwidth(v.r)) colour = vec4(0.94, 0.89, 0.26, 1.0);
}`;

export interface Look {
  mode: "surface" | "slices";
  level: number;
  difference: boolean;
  /** Rows: right, up, towards the viewer, in x, y, z. */
  axes: number[][];
  zoom: number;
  cuts: number[];
}

export interface StateMap {
  bytes: Uint8Array;
  range: [number, number];
}

/** One sampling of the maps on the card. */
interface Field {
  level: Level;
  textures: WebGLTexture[];
  sum: WebGLTexture;
  frames: WebGLFramebuffer[];
  adder: [WebGLProgram, Uniforms];
  /** What the sum holds. */
  added: string;
}

export class VolumeView {
  readonly gl: WebGL2RenderingContext;
  private fields: Field[] = [];
  private chosen = 0;
  private readonly stater: [WebGLProgram, Uniforms];
  private readonly rays: [WebGLProgram, Uniforms];
  private readonly slices: [WebGLProgram, Uniforms];

  constructor(readonly canvas: HTMLCanvasElement, readonly maps: Maps) {
    this.gl = context(canvas);
    if (!this.gl.getExtension("EXT_color_buffer_float"))
      throw new Told("This graphics card cannot add maps (EXT_color_buffer_float).", "Use another browser or machine.");
    this.stater = program(this.gl, WHOLE, STATE);
    this.rays = program(this.gl, WHOLE, RAYS);
    this.slices = program(this.gl, WHOLE, SLICES);
  }

  private get field(): Field | undefined {
    return this.fields[this.chosen];
  }

  /** How many samplings are on the card, coarse first. */
  get depth(): number {
    return this.fields.length;
  }

  /** Draw the coarsest or the finest sampling that is here. */
  use(fine: boolean): void {
    this.chosen = fine ? this.fields.length - 1 : 0;
  }

  /** How many components are added; the remaining ones are left at the mean. */
  get components(): number {
    return this.field ? Math.min(this.field.level.ranges.length - 1, MOST_COMPONENTS) : 0;
  }

  get sampling(): number {
    return this.field?.level.sampling ?? 0;
  }

  get bytes(): number {
    return this.fields.reduce((sum, { level, textures }) => sum + level.size.reduce((a, b) => a * b) * 4 * textures.length, 0);
  }

  load(level: Level, files: ArrayBuffer[]): void {
    const gl = this.gl;
    const sum = texture3d(gl, level.size, gl.RG16F, gl.RG, gl.HALF_FLOAT, gl.LINEAR, null);
    const frames = Array.from({ length: level.size[2]! }, (_, layer) => {
      const frame = gl.createFramebuffer()!;
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, sum, 0, layer);
      return frame;
    });
    const textures = files.map((file) =>
      texture3d(gl, level.size, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, gl.NEAREST, new Uint8Array(file)));
    this.fields.push({ level, textures, sum, frames, adder: program(gl, WHOLE, sumShader(files.length)), added: "" });
    this.use(true);
  }

  /** Add the maps at a point, in standard deviations. */
  at(z: readonly number[]): void {
    const field = this.field;
    const key = JSON.stringify(z);
    if (!field || field.added === key) return;
    const gl = this.gl;
    const gain = new Float32Array(4 * field.textures.length);
    const differ = new Float32Array(4 * field.textures.length);
    const [low, span] = field.level.ranges[0]!;
    gain[0] = span;
    let shift = 0;
    for (let k = 0; k < this.components; k++) {
      const [lowest, width] = field.level.ranges[k + 1]!;
      gain[k + 1] = differ[k + 1] = (z[k] ?? 0) * width;
      shift += (z[k] ?? 0) * lowest;
    }
    const [used, at] = field.adder;
    gl.useProgram(used);
    field.textures.forEach((texture, g) => this.bind(g, texture, at[`maps${g}`]!));
    gl.uniform4fv(at.gain!, gain);
    gl.uniform4fv(at.differ!, differ);
    gl.uniform1f(at.base!, low + shift);
    gl.uniform1f(at.baseDiffer!, shift);
    this.fill(field, at.layer!);
    field.added = key;
  }

  /** Put a map that was made in the sum's place; `key` tells it from others. */
  state(map: StateMap, key: string): void {
    const field = this.field;
    if (!field || field.added === key) return;
    const gl = this.gl;
    const texture = texture3d(gl, field.level.size, gl.R8, gl.RED, gl.UNSIGNED_BYTE, gl.NEAREST, map.bytes);
    const [used, at] = this.stater;
    gl.useProgram(used);
    this.bind(0, field.textures[0]!, at.maps0!);
    this.bind(1, texture, at.state!);
    gl.uniform2fv(at.range!, map.range);
    gl.uniform2fv(at.meanRange!, field.level.ranges[0]!);
    this.fill(field, at.layer!);
    gl.deleteTexture(texture);
    field.added = key;
  }

  /** Draw what was added last into a part of the canvas, pixels from its lower left. */
  draw(look: Look, x = 0, y = 0, width = this.canvas.width, height = this.canvas.height): void {
    const field = this.field;
    if (!field) return;
    const gl = this.gl;
    const { size, origin, sampling, voxel_angstrom } = field.level;
    const [used, at] = look.mode === "surface" ? this.rays : this.slices;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(x, y, width, height);
    gl.useProgram(used);
    this.bind(0, field.sum, at.field!);
    gl.uniform3fv(at.size!, size);
    gl.uniform1f(at.level!, look.level);
    gl.uniform1f(at.contrast!, 1.5 / this.maps.level);
    gl.uniform1i(at.colouring!, look.difference ? 1 : 0);
    if (look.mode === "surface") {
      gl.uniformMatrix3fv(at.axes!, false, look.axes.flat());
      gl.uniform3fv(at.centre!, origin.map((from) => sampling / 2 - from + 0.5));
      gl.uniform1f(at.reach!, this.maps.reach_angstrom / voxel_angstrom / look.zoom / Math.min(1, width / height));
      gl.uniform1f(at.aspect!, width / height);
    } else {
      gl.uniform2f(at.shown!, 0, this.maps.highest);
      gl.uniform3fv(at.cuts!, look.cuts.map((cut, axis) => cut * size[axis]!));
    }
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  clear(): void {
    this.gl.bindFramebuffer(this.gl.FRAMEBUFFER, null);
    this.gl.clearColor(1, 1, 1, 1);
    this.gl.clear(this.gl.COLOR_BUFFER_BIT);
  }

  /** Milliseconds until the card has done all that it was told so far. */
  done(then: (took: number) => void): void {
    const gl = this.gl;
    const begin = performance.now();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)!;
    gl.flush();
    const look = () => {
      const state = gl.getSyncParameter(fence, gl.SYNC_STATUS);
      if (state !== gl.SIGNALED && !gl.isContextLost()) return void setTimeout(look, 2);
      gl.deleteSync(fence);
      then(performance.now() - begin);
    };
    setTimeout(look, 0);
  }

  /** The sum as it lies on the card, (z, y, x) values: for tests. */
  read(): Float32Array {
    const gl = this.gl;
    const { level, frames } = this.field!;
    const [nx, ny, nz] = level.size as [number, number, number];
    const all = new Float32Array(nx * ny * nz);
    const layer = new Float32Array(4 * nx * ny);
    frames.forEach((frame, z) => {
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.readPixels(0, 0, nx, ny, gl.RGBA, gl.FLOAT, layer);
      for (let i = 0; i < nx * ny; i++) all[z * nx * ny + i] = layer[4 * i]!;
    });
    return all;
  }

  end(): void {
    const gl = this.gl;
    for (const field of this.fields) {
      [...field.textures, field.sum].forEach((texture) => gl.deleteTexture(texture));
      field.frames.forEach((frame) => gl.deleteFramebuffer(frame));
      gl.deleteProgram(field.adder[0]);
    }
    for (const [used] of [this.stater, this.rays, this.slices]) gl.deleteProgram(used);
    this.fields = [];
  }

  private fill(field: Field, layerAt: WebGLUniformLocation): void {
    const gl = this.gl;
    gl.viewport(0, 0, field.level.size[0]!, field.level.size[1]!);
    field.frames.forEach((frame, layer) => {
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.uniform1i(layerAt, layer);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
  }

  private bind(unit: number, texture: WebGLTexture, at: WebGLUniformLocation): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(this.gl.TEXTURE_3D, texture);
    this.gl.uniform1i(at, unit);
  }
}
