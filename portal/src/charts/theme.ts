/** The one chart theme: colours are read from style.css, so a chart never has its own. */
import type { Tone } from './slots';

export type Rgb = readonly [number, number, number];

export interface Palette {
  tone: Record<Tone, Rgb>;
  ink: Rgb;
  soft: Rgb;
  line: Rgb;
  surface: Rgb;
  font: string;
}

export function css([r, g, b]: Rgb, alpha = 1): string {
  return alpha === 1 ? `rgb(${r},${g},${b})` : `rgba(${r},${g},${b},${alpha})`;
}

/** A colour on its way to the surface: 0 stays, 1 arrives. */
export function shade(colour: Rgb, towards: Rgb, by: number): Rgb {
  return [0, 1, 2].map((i) => Math.round((colour[i] ?? 0) * (1 - by) + (towards[i] ?? 0) * by)) as unknown as Rgb;
}

function parsed(text: string): Rgb {
  const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [];
  const [r = 0, g = 0, b = 0] = numbers;
  return text.startsWith('color(') ? [Math.round(r * 255), Math.round(g * 255), Math.round(b * 255)] : [r, g, b];
}

export function palette(host: Element): Palette {
  const probe = document.createElement('span');
  host.append(probe);
  const read = (name: string): Rgb => {
    probe.style.color = `var(--${name})`;
    return parsed(getComputedStyle(probe).color);
  };
  const result: Palette = {
    tone: {
      import: read('import'),
      export: read('export'),
      reactive: read('reactive'),
      demand: read('demand'),
      fault: read('fault'),
      neutral: read('ink-2'),
      l1: read('l1'),
      l2: read('l2'),
      l3: read('l3'),
    },
    ink: read('ink'),
    soft: read('ink-2'),
    line: read('line'),
    surface: read('surface'),
    font: getComputedStyle(host).fontFamily,
  };
  probe.remove();
  return result;
}

/** Thin diagonal lines, the same as `.hatch` in tables: this value was not measured. */
export function hatch(colour: string): HTMLCanvasElement {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 6;
  const pen = tile.getContext('2d');
  if (pen) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    for (const shift of [-6, 0, 6]) {
      pen.beginPath();
      pen.moveTo(shift, 6);
      pen.lineTo(shift + 6, 0);
      pen.stroke();
    }
  }
  return tile;
}
