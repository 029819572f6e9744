// The map at a latent point, on the viewer's own graphics card: mean + sum_k z_k (d_k u_k), added once for each point
// into one texture (value, what it is coloured by), then looked at along rays. No server is asked for a frame.
import { Bounds, distances } from "./blocks";
import { WHOLE, context, program, texture3d, type Uniforms } from "./gl";
import type { Level, Maps } from "./model";
import { LAYERS, RAYS, SLICES, STATE, sumShader } from "./shaders";
import { Told } from "./source";
import { TraceView, type Trace } from "./trace";

const MOST_COMPONENTS = 23;

/** What the surface is coloured by: nothing, the difference from the mean, how much it moves, one component's motion. */
export type Paint = "plain" | "difference" | "motion" | number;

export interface Look {
  mode: "surface" | "slices";
  level: number;
  paint: Paint;
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
  blocks: WebGLTexture;
  bounds: Bounds[];
  adder: [WebGLProgram, Uniforms];
  /** What the sum holds, how large it can be in each block, and for which level the blocks are told. */
  added: string;
  bound: Float32Array;
  told: string;
}

export class VolumeView {
  readonly gl: WebGL2RenderingContext;
  /** Since the page began: for what a frame costs. */
  calls = 0;
  uploaded = 0;
  private fields: Field[] = [];
  private chosen = 0;
  private readonly stater: [WebGLProgram, Uniforms];
  private readonly rays: [WebGLProgram, Uniforms];
  private readonly slices: [WebGLProgram, Uniforms];
  private readonly trace: TraceView;

  constructor(readonly canvas: HTMLCanvasElement, readonly maps: Maps) {
    this.gl = context(canvas);
    if (!this.gl.getExtension("EXT_color_buffer_float"))
      throw new Told("This graphics card cannot add maps (EXT_color_buffer_float).", "Use another browser or machine.");
    this.stater = program(this.gl, WHOLE, STATE);
    this.rays = program(this.gl, WHOLE, RAYS);
    this.slices = program(this.gl, WHOLE, SLICES);
    this.trace = new TraceView(this.gl);
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
    const maps = files.map((file) => new Uint8Array(file));
    const bounds = maps.map((bytes, g) => new Bounds(level.size, bytes, 4, Math.min(level.ranges.length - 4 * g, 4)));
    const counts = bounds[0]!.counts;
    const sum = texture3d(gl, level.size, gl.RG16F, gl.RG, gl.HALF_FLOAT, gl.LINEAR, null);
    const frames = Array.from({ length: Math.ceil(level.size[2]! / LAYERS) }, (_, n) => {
      const frame = gl.createFramebuffer()!;
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      const here = Math.min(LAYERS, level.size[2]! - n * LAYERS);
      for (let k = 0; k < here; k++) gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + k, sum, 0, n * LAYERS + k);
      gl.drawBuffers(Array.from({ length: LAYERS }, (_, k) => (k < here ? gl.COLOR_ATTACHMENT0 + k : gl.NONE)));
      return frame;
    });
    this.fields.push({
      level, sum, frames, bounds, added: "", told: "", bound: new Float32Array(counts[0] * counts[1] * counts[2]),
      textures: maps.map((bytes) => texture3d(gl, level.size, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, gl.NEAREST, bytes)),
      blocks: texture3d(gl, counts, gl.R8, gl.RED, gl.UNSIGNED_BYTE, gl.NEAREST, null),
      adder: program(gl, WHOLE, sumShader(files.length)),
    });
    this.use(true);
  }

  /** Add the maps at a point, in standard deviations. */
  at(z: readonly number[], paint: Paint = "difference"): void {
    const field = this.field;
    const key = JSON.stringify([z, paint]);
    if (!field || field.added === key) return;
    this.fillSum(field, z, paint);
    field.added = key;
  }

  /** Put a map that was made in the sum's place; `key` tells it from others. */
  state(map: StateMap, key: string, paint: Paint = "difference"): void {
    const field = this.field;
    const whole = `${key} ${paint}`;
    if (!field || field.added === whole) return;
    const gl = this.gl;
    if (paint !== "difference") this.fillSum(field, [], paint);
    const texture = texture3d(gl, field.level.size, gl.R8, gl.RED, gl.UNSIGNED_BYTE, gl.NEAREST, map.bytes);
    const [used, at] = this.stater;
    gl.useProgram(used);
    this.bind(0, field.textures[0]!, at.maps0!);
    this.bind(1, texture, at.state!);
    gl.uniform2fv(at.range!, map.range);
    gl.uniform2fv(at.meanRange!, field.level.ranges[0]!);
    gl.colorMask(true, paint === "difference", true, true);
    this.fill(field, at);
    gl.colorMask(true, true, true, true);
    gl.deleteTexture(texture);
    const most = new Bounds(field.level.size, map.bytes, 1, 1).most[0]!;
    field.bound = Float32Array.from(most, (value) => map.range[0] + (map.range[1] * value) / 255);
    [field.added, field.told] = [whole, ""];
  }

  /** An atomic model to draw with the surface; null: none. */
  model(trace: Trace | null): void {
    this.trace.set(trace);
  }

  /** Draw what was added last into a part of the canvas, pixels from its lower left. rough: while it moves. */
  draw(look: Look, x = 0, y = 0, width = this.canvas.width, height = this.canvas.height, rough = false): void {
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
    gl.uniform1i(at.colouring!, look.paint === "plain" ? 0 : look.paint === "motion" ? 2 : 1);
    const centre = origin.map((from) => sampling / 2 - from + 0.5);
    const view = {
      axes: look.axes.flat(), centre, aspect: width / height, far: 0.9 * sampling,
      reach: this.maps.reach_angstrom / voxel_angstrom / look.zoom / Math.min(1, width / height),
    };
    if (look.mode === "surface") {
      this.bind(1, this.told(field, look.level), at.blocks!);
      gl.uniformMatrix3fv(at.axes!, false, view.axes);
      gl.uniform3fv(at.centre!, centre);
      gl.uniform1f(at.reach!, view.reach);
      gl.uniform1f(at.far!, view.far);
      gl.uniform1f(at.aspect!, view.aspect);
      gl.uniform1i(at.rough!, rough ? 1 : 0);
      gl.enable(gl.DEPTH_TEST);
      gl.depthFunc(gl.ALWAYS);
    } else {
      gl.uniform2f(at.shown!, 0, this.maps.highest);
      gl.uniform3fv(at.cuts!, look.cuts.map((cut, axis) => cut * size[axis]!));
    }
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.calls++;
    if (look.mode === "surface")
      this.calls += this.trace.draw(view, voxel_angstrom, origin.map((from, axis) => (from - 0.5) * voxel_angstrom + (this.maps.origin_angstrom[axis] ?? 0)), height);
    gl.disable(gl.DEPTH_TEST);
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

  /** The sum as it lies on the card, (z, y, x) values, or what it is coloured by: for tests. */
  read(channel = 0): Float32Array {
    const gl = this.gl;
    const { level, frames } = this.field!;
    const [nx, ny, nz] = level.size as [number, number, number];
    const all = new Float32Array(nx * ny * nz);
    const layer = new Float32Array(4 * nx * ny);
    for (let z = 0; z < nz; z++) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, frames[Math.floor(z / LAYERS)]!);
      gl.readBuffer(gl.COLOR_ATTACHMENT0 + (z % LAYERS));
      gl.readPixels(0, 0, nx, ny, gl.RGBA, gl.FLOAT, layer);
      for (let i = 0; i < nx * ny; i++) all[z * nx * ny + i] = layer[4 * i + channel]!;
    }
    return all;
  }

  end(): void {
    const gl = this.gl;
    for (const field of this.fields) {
      [...field.textures, field.sum, field.blocks].forEach((texture) => gl.deleteTexture(texture));
      field.frames.forEach((frame) => gl.deleteFramebuffer(frame));
      gl.deleteProgram(field.adder[0]);
    }
    for (const [used] of [this.stater, this.rays, this.slices]) gl.deleteProgram(used);
    this.fields = [];
  }

  private fillSum(field: Field, z: readonly number[], paint: Paint): void {
    const gl = this.gl;
    const room = 4 * field.textures.length;
    const [gain, tint, least] = [new Float32Array(room), new Float32Array(room), new Float32Array(room)];
    const [low, span] = field.level.ranges[0]!;
    let base = low;
    gain[0] = span;
    field.bound.fill(low);
    this.bounded(field, 0, span);
    for (let k = 0; k < this.components; k++) {
      const [lowest, width] = field.level.ranges[k + 1]!;
      const value = z[k] ?? 0;
      gain[k + 1] = value * width;
      base += value * lowest;
      const share = paint === "difference" ? value : paint === "motion" || paint === k ? 1 : 0;
      tint[k + 1] = share * width;
      least[k + 1] = share * lowest;
      if (value) this.bounded(field, k + 1, value * width, value * lowest);
    }
    const [used, at] = field.adder;
    gl.useProgram(used);
    field.textures.forEach((texture, g) => this.bind(g, texture, at[`maps${g}`]!));
    gl.uniform4fv(at.gain!, gain);
    gl.uniform4fv(at.paint!, tint);
    gl.uniform4fv(at.least!, least);
    gl.uniform1f(at.base!, base);
    gl.uniform1i(at.spread!, paint === "motion" ? 1 : 0);
    this.fill(field, at);
    field.told = "";
  }

  /** What map c adds to the most that each block can hold. */
  private bounded(field: Field, c: number, scale: number, shift = 0): void {
    const { least, most } = field.bounds[c >> 2]!;
    const bytes = (scale < 0 ? least : most)[c & 3]!;
    const { bound } = field;
    for (let i = 0; i < bound.length; i++) bound[i]! += shift + (scale * bytes[i]!) / 255;
  }

  /** The blocks' texture for a level. */
  private told(field: Field, level: number): WebGLTexture {
    const key = String(level);
    if (field.told !== key) {
      const gl = this.gl;
      const { counts } = field.bounds[0]!;
      const found = distances(counts, field.bound, level);
      gl.activeTexture(gl.TEXTURE0 + 1);
      gl.bindTexture(gl.TEXTURE_3D, field.blocks);
      gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, ...counts, gl.RED, gl.UNSIGNED_BYTE, found);
      this.uploaded += found.length;
      field.told = key;
    }
    return field.blocks;
  }

  private fill(field: Field, at: Uniforms): void {
    const gl = this.gl;
    gl.viewport(0, 0, field.level.size[0]!, field.level.size[1]!);
    gl.uniform1i(at.layers!, field.level.size[2]!);
    field.frames.forEach((frame, n) => {
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.uniform1i(at.layer!, n * LAYERS);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
    this.calls += field.frames.length;
  }

  private bind(unit: number, texture: WebGLTexture, at: WebGLUniformLocation): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(this.gl.TEXTURE_3D, texture);
    this.gl.uniform1i(at, unit);
  }
}
