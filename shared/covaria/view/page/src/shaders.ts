// What runs on the graphics card: adding maps, rays to a surface, slices, an atomic model's trace.

/** Layers of the sum that one draw call fills. */
export const LAYERS = 4;
/** Voxels a side of the blocks that a ray passes at once where nothing is. */
export const BLOCK = 4;

const OUTPUTS = Array.from({ length: LAYERS }, (_, k) => `layout(location = ${k}) out vec4 sum${k};`).join("\n");
const FILL = `uniform int layer, layers;
${OUTPUTS}
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  ${Array.from({ length: LAYERS }, (_, k) => `sum${k} = vec4(add(ivec3(at, min(layer + ${k}, layers - 1))), 0.0, 1.0);`).join("\n  ")}
}`;

/** (the map, what it is coloured by): a sum of maps, or the root of the sum of their squares. */
export function sumShader(groups: number): string {
  const terms = Array.from({ length: groups }, (_, g) => `
  t = texelFetch(maps${g}, voxel, 0); v += dot(t, gain[${g}]); m = t * paint[${g}] + least[${g}];
  d += spread ? dot(m, m) : dot(m, vec4(1.0));`).join("");
  const samplers = Array.from({ length: groups }, (_, g) => `uniform sampler3D maps${g};`).join("\n");
  return `${samplers}
uniform vec4 gain[${groups}], paint[${groups}], least[${groups}];
uniform float base;
uniform bool spread;
vec2 add(ivec3 voxel) {
  float v = base, d = 0.0; vec4 t, m;${terms}
  return vec2(v, spread ? sqrt(d) : d);
}
${FILL}`;
}

/** A map that was made in the sum's place; its difference from the mean where it is coloured by that. */
export const STATE = `uniform sampler3D state, maps0;
uniform vec2 range, meanRange;
vec2 add(ivec3 voxel) {
  float v = range.x + range.y * texelFetch(state, voxel, 0).r;
  return vec2(v, v - (meanRange.x + meanRange.y * texelFetch(maps0, voxel, 0).r));
}
${FILL}`;

const COLOUR = `
uniform sampler3D field;
uniform vec3 size;        // voxels
uniform float level, contrast;
uniform int colouring;    // 0 plain, 1 less to more, 2 none to much
vec3 shade(vec2 value) {
  if (colouring == 0) return vec3(0.66, 0.80, 0.93);
  float d = clamp(value.y * contrast, -1.0, 1.0);
  return d < 0.0 ? mix(vec3(0.92), vec3(0.0, 0.45, 0.70), -d) : mix(vec3(0.92), vec3(0.84, 0.37, 0.0), d);
}`;

/** Between the ray-marched surface and what is drawn after it: depth from the viewer, 0 to 1. */
const DEPTH = `float depthOf(float towards, float far) { return clamp(0.5 - 0.5 * towards / far, 0.0, 1.0); }`;

export const RAYS = `${COLOUR}${DEPTH}
uniform sampler3D blocks; // how many blocks away the nearest one is in which the surface may lie
uniform mat3 axes;        // columns: right, up, towards the viewer; voxels
uniform vec3 centre;      // of the whole box, in voxels of the crop
uniform float reach, far; // half the canvas' height, half the box' diagonal; voxels
uniform float aspect;
uniform bool rough;       // while it moves
in vec2 at;
out vec4 colour;
vec2 value(vec3 p) { return texture(field, p / size).rg; }
void main() {
  colour = vec4(1.0);
  gl_FragDepth = 1.0;
  vec2 place = (2.0 * at - 1.0) * vec2(aspect, 1.0) * reach;
  vec3 way = -axes[2] + 1e-5, from = centre + axes[0] * place.x + axes[1] * place.y;
  vec3 a = (vec3(0.5) - from) / way, b = (size - 0.5 - from) / way;
  vec3 near = min(a, b), farther = max(a, b), ahead = step(0.0, way);
  float t = max(near.x, max(near.y, near.z)), end = min(farther.x, min(farther.y, farther.z));
  ivec3 last = textureSize(blocks, 0) - 1;
  float stride = rough ? 1.25 : 0.75, before = t;
  bool hit = false;
  for (int i = 0; i < 512 && t < end; i++) {
    vec3 p = from + way * t;
    vec3 block = floor(p / ${BLOCK}.0);
    float away = 255.0 * texelFetch(blocks, clamp(ivec3(block), ivec3(0), last), 0).r;
    before = t;
    if (away > 0.5) {
      vec3 leave = ((block + mix(vec3(1.0 - away), vec3(away), ahead)) * ${BLOCK}.0 - p) / way;
      t += max(min(leave.x, min(leave.y, leave.z)), 0.0) + 0.02;
    } else if (value(p).r > level) { hit = true; break; }
    else t += stride;
  }
  if (!hit) return;
  float low = t - stride, high = t;
  int halvings = rough ? 3 : 6;
  for (int i = 0; i < halvings; i++) {
    float middle = 0.5 * (low + high);
    if (value(from + way * middle).r > level) high = middle; else low = middle;
  }
  vec3 p = from + way * high;
  vec2 here = value(p), e = vec2(1.0, 0.0);
  vec3 slope = vec3(value(p + e.xyy).r, value(p + e.yxy).r, value(p + e.yyx).r)
    - (rough ? vec3(here.r) : vec3(value(p - e.xyy).r, value(p - e.yxy).r, value(p - e.yyx).r));
  vec3 normal = -normalize(slope + 1e-12);
  vec3 light = normalize(axes * vec3(-0.45, 0.55, 0.70));
  float towards = dot(p - centre, axes[2]);
  float lit = (0.40 + 0.60 * max(dot(normal, light), 0.0)) * (0.89 + 0.11 * clamp(towards / reach, -1.0, 1.0));
  gl_FragDepth = depthOf(towards, far);
  colour = vec4(shade(here) * lit, 1.0);
}`;

export const SLICES = `${COLOUR}
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

/** Each piece of the trace as a ribbon that faces the viewer. */
export const TRACE_CORNERS = `${DEPTH}
in vec3 begin, end, tint;
uniform mat3 axes;
uniform vec3 centre, origin; // origin: angstrom of the crop's first corner
uniform float voxel, reach, far, aspect, width;
out vec3 hue;
void main() {
  vec3 a = ((begin - origin) / voxel - centre) * axes, b = ((end - origin) / voxel - centre) * axes;
  vec2 along = normalize(b.xy - a.xy + 1e-6), side = vec2(-along.y, along.x);
  bool second = (gl_VertexID & 1) == 1;
  vec3 p = second ? b : a;
  p.xy += side * width * ((gl_VertexID & 2) == 0 ? -1.0 : 1.0) + along * width * (second ? 0.6 : -0.6);
  gl_Position = vec4(p.xy / reach / vec2(aspect, 1.0), 2.0 * depthOf(p.z, far) - 1.0, 1.0);
  hue = tint * (0.8 + 0.2 * clamp(p.z / reach, -1.0, 1.0));
}`;

export const TRACE = `in vec3 hue;
uniform float alpha;
out vec4 colour;
void main() { colour = vec4(hue, alpha); }`;
