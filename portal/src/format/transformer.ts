/** A current transformer's errors as people write them, and back: percent of ratio, minutes of arc. */
import type { CurvePoint } from '../api/types';

export interface Row {
  /** Per cent of the rated current. */
  share: number | null;
  /** Ratio error in per cent: what is indicated too much. */
  error: number | null;
  /** Phase displacement in minutes of arc, the indication ahead. */
  phase: number | null;
}
export const POINTS_MAX = 16;
export const SERIAL = /^[A-Za-z0-9][A-Za-z0-9._-]{0,15}$/;
export const RATED_MAX_A = 65_535;

export function errorText(ratio: number, fixed: (value: number, decimals: number) => string): string {
  const error = (ratio - 1) * 100;
  return `${error > 0.0005 ? '+' : ''}${fixed(error, 3)}`;
}

/** The points of a form, by rising current; null where a number is missing or out of its range. */
export function pointsOf(rows: readonly Row[]): CurvePoint[] | null {
  const points: CurvePoint[] = [];
  for (const { share, error, phase } of rows) {
    if (share == null || error == null || phase == null) return null;
    if (!(share > 0 && share <= 2000 && Math.abs(error) <= 50 && Math.abs(phase) <= 900)) return null;
    // Six decimals are what a meter keeps.
    points.push({ share: Number((share / 100).toFixed(6)), ratio: Number((1 + error / 100).toFixed(6)), phase_min: phase });
  }
  points.sort((a, b) => a.share - b.share);
  const twice = points.some((one, i) => i > 0 && one.share === points[i - 1]?.share);
  return points.length && points.length <= POINTS_MAX && !twice ? points : null;
}
