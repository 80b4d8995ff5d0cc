/** Numbers as people read them: value and unit apart, decimals steady so that digits do not dance. */

export interface Quantity {
  text: string;
  unit: string;
}
export const DASH = '–';

const PREFIXES: [number, string][] = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];
const SCALED = new Set(['W', 'Wh', 'var', 'varh', 'VA', 'VAh']);

export function decimal(value: number, decimals: number, locale: string): string {
  // The sign of a rounded zero says nothing.
  const rounded = Number(value.toFixed(decimals)) === 0 ? 0 : value;
  const text = new Intl.NumberFormat(locale, {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  }).format(rounded);
  return text.replace('-', '−');
}

/** The prefix that a magnitude of this unit is shown with; units without prefixes keep theirs. */
export function scaleOf(magnitude: number, unit: string): { factor: number; unit: string } {
  if (SCALED.has(unit))
    for (const [factor, prefix] of PREFIXES)
      if (Math.abs(magnitude) >= factor) return { factor, unit: prefix + unit };
  if (unit === 'm³' && magnitude !== 0 && Math.abs(magnitude) < 1) return { factor: 0.001, unit: 'L' };
  return { factor: 1, unit };
}

/** A value in its base unit (W, Wh, var, V, A …) with the prefix and decimals that suit it. */
export function quantity(value: number | null | undefined, unit: string, locale: string): Quantity {
  if (value == null || !Number.isFinite(value)) return { text: DASH, unit };
  const scale = scaleOf(value, unit);
  const scaled = value / scale.factor;
  return { text: decimal(scaled, decimalsOf(scaled, scale), locale), unit: scale.unit };
}

function decimalsOf(scaled: number, scale: { factor: number; unit: string }): number {
  const magnitude = Math.abs(scaled);
  if (scale.factor > 1) return magnitude >= 100 ? 1 : 2;
  switch (scale.unit) {
    case 'W':
    case 'Wh':
    case 'var':
    case 'varh':
    case 'VA':
    case 'VAh':
    case 'L':
      return 0;
    case 'V':
    case '%':
    case '°':
      return 1;
    case 'Hz':
    case 'A':
    case 'm³':
      return 2;
    case '':
    case '1':
      return 3;
    default:
      return magnitude >= 100 ? 1 : 2;
  }
}

/** A share as a percentage; a share short of the whole never reads 100 %. */
export function percent(ratio: number | null | undefined, locale: string, decimals = 1): string {
  if (ratio == null || !Number.isFinite(ratio)) return DASH;
  const step = 10 ** -decimals;
  const shown = ratio < 1 ? Math.min(ratio * 100, 100 - step) : ratio * 100;
  return `${decimal(shown, ratio >= 1 ? 0 : decimals, locale)} %`;
}

export function count(value: number | null | undefined, locale: string): string {
  return value == null ? DASH : decimal(value, 0, locale);
}

/** Round numbers for an axis: about `steps` steps of 1, 2, 2.5 or 5 times a power of ten. */
export function axisStep(span: number, steps = 4): number {
  if (!(span > 0)) return 1;
  const rough = span / steps;
  const power = 10 ** Math.floor(Math.log10(rough));
  for (const nice of [1, 2, 2.5, 5]) if (nice * power >= rough * 0.999) return nice * power;
  return 10 * power;
}
