// An atomic model as its backbone: C-alpha of proteins, P of nucleic acids, one colour a chain. Read from the text of a
// .pdb or .cif file, drawn with the surface: in front of it whole, behind it faint.
import { program, type Uniforms } from "./gl";
import { category, rgb } from "./palettes";
import { TRACE, TRACE_CORNERS } from "./shaders";
import { Told } from "./source";

export interface Trace {
  name: string;
  /** begin x y z, end x y z (angstrom), red green blue: one row a piece. */
  pieces: Float32Array;
  residues: number;
  chains: number;
  middle: [number, number, number];
}

interface Residue {
  chain: string;
  at: number[];
  /** How far the next one of its chain may be. */
  next: number;
}

const SUFFIXES = /\.(pdb|ent|cif|mmcif)$/i;
const ALPHA_NEXT = 4.6;
const PHOSPHORUS_NEXT = 9;
const STEPS = 3;
const MOST_BYTES = 200e6;

export function readTrace(name: string, text: string): Trace {
  if (!SUFFIXES.test(name)) throw new Told(`${name} is no atomic model.`, "Give a .pdb or .cif file.");
  if (text.length > MOST_BYTES) throw new Told(`${name} is larger than ${MOST_BYTES / 1e6} MB.`, "Give a smaller model.");
  const found = /cif$/i.test(name) ? fromCif(name, text) : fromPdb(name, text);
  if (!found.length) throw new Told(`${name} holds no C-alpha and no phosphorus atom.`, "Only proteins and nucleic acids are drawn.");
  const names = [...new Set(found.map((one) => one.chain))];
  const pieces: number[] = [];
  for (let begin = 0; begin < found.length; ) {
    let end = begin;
    while (end + 1 < found.length && joined(found[end]!, found[end + 1]!)) end++;
    const colour = rgb(category(names.indexOf(found[begin]!.chain))).map((c) => c / 255);
    const line = smooth(found.slice(begin, end + 1).map((one) => one.at));
    for (let i = 0; i + 1 < line.length; i++) pieces.push(...line[i]!, ...line[i + 1]!, ...colour);
    begin = end + 1;
  }
  const middle = [0, 1, 2].map((axis) => found.reduce((sum, one) => sum + one.at[axis]!, 0) / found.length) as [number, number, number];
  return { name, pieces: new Float32Array(pieces), residues: found.length, chains: names.length, middle };
}

/** The same, moved. */
export function moved(trace: Trace, by: number[]): Trace {
  const pieces = trace.pieces.map((value, i) => (i % 9 < 6 ? value + by[i % 3]! : value));
  return { ...trace, pieces, middle: trace.middle.map((v, k) => v + by[k]!) as [number, number, number] };
}

const joined = (a: Residue, b: Residue): boolean =>
  a.chain === b.chain && a.next === b.next && Math.hypot(...a.at.map((v, k) => v - b.at[k]!)) < a.next;

/** A curve through the points: Catmull and Rom's. */
function smooth(points: number[][]): number[][] {
  const at = (i: number) => points[Math.min(Math.max(i, 0), points.length - 1)]!;
  return points.flatMap((point, i) => (i + 1 === points.length ? [point] : Array.from({ length: STEPS }, (_, n) => {
    const t = n / STEPS;
    return [0, 1, 2].map((k) => {
      const [a, b, c, d] = [at(i - 1)[k]!, at(i)[k]!, at(i + 1)[k]!, at(i + 2)[k]!];
      return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t);
    });
  })));
}

function residue(name: string, row: number, chain: string, texts: (string | undefined)[], alpha: boolean): Residue {
  const at = texts.map((one) => (one === undefined || one.trim() === "" ? NaN : +one));
  if (!at.every(Number.isFinite)) throw new Told(`${name}, line ${row}: the coordinates are no numbers.`, "Give a sound .pdb or .cif file.");
  return { chain, at, next: alpha ? ALPHA_NEXT : PHOSPHORUS_NEXT };
}

function fromPdb(name: string, text: string): Residue[] {
  const found: Residue[] = [];
  let row = 0;
  for (const line of text.split("\n")) {
    row++;
    if (line.startsWith("ENDMDL")) break;
    if (!line.startsWith("ATOM  ") && !line.startsWith("HETATM")) continue;
    const atom = line.slice(12, 16);
    if ((atom !== " CA " && atom !== " P  ") || !" A1".includes(line[16] ?? " ")) continue;
    found.push(residue(name, row, line[21] ?? "", [line.slice(30, 38), line.slice(38, 46), line.slice(46, 54)], atom === " CA "));
  }
  return found;
}

const WORD = /'(?:[^']|'(?=\S))*'|"(?:[^"]|"(?=\S))*"|\S+/g;

function fromCif(name: string, text: string): Residue[] {
  const found: Residue[] = [];
  const fields = new Map<string, number>();
  let row = 0;
  for (const line of text.split("\n")) {
    row++;
    const start = line.trimStart();
    if (start.startsWith("_atom_site.")) {
      fields.set(start.split(/\s/)[0]!.slice(11), fields.size);
      continue;
    }
    if (!fields.size) continue;
    if (!start || /^(#|loop_|_|data_)/.test(start)) break;
    if (!/\b(CA|P)\b/.test(line)) continue;
    const words = line.match(WORD) ?? [];
    const value = (field: string) => words[fields.get(field) ?? -1]?.replace(/^["'](.*)["']$/, "$1");
    const [atom, element] = [value("label_atom_id") ?? value("auth_atom_id"), value("type_symbol")];
    if (!(atom === "CA" && (element === undefined || element === "C")) && atom !== "P") continue;
    if (!["A", "1", ".", "?", undefined].includes(value("label_alt_id")) || (value("pdbx_PDB_model_num") ?? "1") !== "1") continue;
    found.push(residue(name, row, value("auth_asym_id") ?? value("label_asym_id") ?? "", ["x", "y", "z"].map((axis) => value(`Cartn_${axis}`)), atom === "CA"));
  }
  return found;
}

export interface Camera {
  axes: number[];
  centre: number[];
  reach: number;
  far: number;
  aspect: number;
}

const WIDTH_PX = 1.6;
const WIDTH_ANGSTROM = 0.45;
const BEHIND = 0.4;

export class TraceView {
  private readonly drawn: [WebGLProgram, Uniforms];
  private readonly array: WebGLVertexArrayObject;
  private readonly buffer: WebGLBuffer;
  private count = 0;

  constructor(readonly gl: WebGL2RenderingContext) {
    this.drawn = program(gl, TRACE_CORNERS, TRACE);
    this.array = gl.createVertexArray()!;
    this.buffer = gl.createBuffer()!;
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    ["begin", "end", "tint"].forEach((name, k) => {
      const place = gl.getAttribLocation(this.drawn[0], name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 36, 12 * k);
      gl.vertexAttribDivisor(place, 1);
    });
    gl.bindVertexArray(null);
  }

  set(trace: Trace | null): void {
    this.count = trace ? trace.pieces.length / 9 : 0;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, trace?.pieces ?? new Float32Array(0), this.gl.STATIC_DRAW);
  }

  /** voxel: angstrom; origin: angstrom of the crop's first corner; height: pixels. How many draw calls it took. */
  draw(camera: Camera, voxel: number, origin: number[], height: number): number {
    if (!this.count) return 0;
    const gl = this.gl;
    const [used, at] = this.drawn;
    gl.useProgram(used);
    gl.uniformMatrix3fv(at.axes!, false, camera.axes);
    gl.uniform3fv(at.centre!, camera.centre);
    gl.uniform3fv(at.origin!, origin);
    gl.uniform1f(at.voxel!, voxel);
    for (const name of ["reach", "far", "aspect"] as const) gl.uniform1f(at[name]!, camera[name]);
    gl.uniform1f(at.width!, Math.max((WIDTH_PX * 2 * camera.reach) / height, WIDTH_ANGSTROM / voxel));
    gl.bindVertexArray(this.array);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    for (const [compare, alpha] of [[gl.GREATER, BEHIND], [gl.LEQUAL, 1]] as const) {
      gl.depthFunc(compare);
      gl.depthMask(compare === gl.LEQUAL);
      gl.uniform1f(at.alpha!, alpha);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.count);
    }
    gl.depthMask(true);
    gl.disable(gl.BLEND);
    gl.bindVertexArray(null);
    return 2;
  }
}
