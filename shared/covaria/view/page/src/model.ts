// What run.json holds (covaria.explorer.run_files).

export interface Column {
  name: string;
  label: string;
  category: boolean;
  low: number;
  high: number;
  selectable: boolean;
}

export interface Level {
  sampling: number;
  origin: number[];
  size: number[];
  voxel_angstrom: number;
  files: string[];
  ranges: [number, number][];
}

export interface Maps {
  levels: Level[];
  box: number;
  pixel_angstrom: number;
  /** Of the first voxel, x, y, z. */
  origin_angstrom: number[];
  level: number;
  highest: number;
  axes: number[][];
  reach_angstrom: number;
}

export interface State {
  name: string;
  z: number[];
  particles: number;
  share: number;
  /** Of the particles, their errors taken out: share and 90 % interval; null where it was not estimated. */
  population?: [number, number, number] | null;
  resolution_angstrom: number | null;
  mrc: string | null;
  /** Its own map by sampling; the report holds none. */
  files?: Record<string, string>;
  ranges: Record<string, [number, number]>;
  agreement: { maps: number; differences: number } | null;
}

/** What share of the particles belongs to a state: their errors taken out where that was estimated, else those nearest. */
export function population(state: State): string {
  const percent = (share: number) => (100 * share).toFixed(0);
  if (!state.population) return `${percent(state.share)} % lie nearest`;
  const [share, low, high] = state.population;
  return `${percent(share)} % (${percent(low)} to ${percent(high)} %)`;
}

export interface Problem {
  part: string;
  message: string;
  hint: string;
}

export interface Run {
  name: string;
  status: string;
  error: { type: string; message: string; hint: string } | null;
  headline: string;
  lines: string[];
  notes: string[];
  particles: number | null;
  used: number | null;
  resolution_angstrom: number | null;
  tested: number | null;
  threshold: number;
  components: { z_score: number; share: number }[];
  command: string;
  source: string;
  stages: string[][];
  next: string[];
  versions: Record<string, string>;
  curves: {
    frequency: number[];
    fsc: (number | null)[];
    fsc_unmasked: (number | null)[];
    z_scores: (number | null)[];
    eigenvalues: (number | null)[];
  } | null;
  views: number[][] | null;
  columns: Column[];
  drawn: number;
  /** How many there are, where `drawn` is a sample of them. */
  sampled?: number;
  confirmed: number;
  maps: Maps | null;
  states: State[];
  paths: number[][][];
  density: { shape: number[]; bounds: [number, number][] } | null;
  problems: Problem[];
}

export interface Card {
  name: string;
  label: string;
  status: string;
  stage?: string;
  stages?: string[][];
  progress?: { step: string; done: number; total: number; unit?: string; per_second?: number; seconds_left?: number } | null;
  error?: string;
  hint?: string;
  headline?: string;
  said?: string;
  picture?: boolean;
  used?: number | null;
  particles?: number | null;
  resolution_angstrom?: number | null;
  warnings?: string[];
  version?: string;
  submitted_at?: string;
}
