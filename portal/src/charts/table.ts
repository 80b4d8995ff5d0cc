/** A chart's series as a table and as CSV: the same numbers, missing left empty. */
import type { Series, Stretch } from './slots';

export interface TableRow {
  from: number;
  to: number;
  /** One stretch per series, or null where it has none at this time. */
  cells: (Stretch | null)[];
}

export function rowsOf(series: readonly Series[]): TableRow[] {
  const rows = new Map<number, TableRow>();
  series.forEach((one, column) => {
    for (const stretch of one.stretches) {
      let row = rows.get(stretch.from);
      if (!row) {
        row = { from: stretch.from, to: stretch.to, cells: series.map(() => null) };
        rows.set(stretch.from, row);
      }
      row.cells[column] = stretch;
    }
  });
  return [...rows.values()].sort((a, b) => a.from - b.from);
}

/** A text as a CSV field; what a spreadsheet would take for a formula is made harmless. */
export function field(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function number(value: number | null | undefined): string {
  return value == null ? '' : String(Math.round(value * 1000) / 1000);
}

/** RFC 4180, times in UTC, one column per series with its unit. */
export function csvOf(series: readonly Series[]): string {
  const head = ['start', 'end', ...series.map((one) => `${one.name} [${one.unit}]`), 'quality'];
  const iso = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z');
  const lines = rowsOf(series).map((row) => {
    const odd = row.cells.find((cell) => cell && cell.quality !== 'valid');
    return [iso(row.from), iso(row.to), ...row.cells.map((cell) => number(cell?.value)), odd?.quality ?? 'valid'];
  });
  return [head, ...lines].map((line) => line.map(field).join(',') + '\r\n').join('');
}
