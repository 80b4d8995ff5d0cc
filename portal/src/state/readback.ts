/** What a job brought back from the meter, as names and values for people. */
import type { Job } from '../api/types';
import { offsetText, qty, t, word } from './words.svelte';

const UNITS: [suffix: string, unit: string][] = [
  ['_wh', 'Wh'],
  ['_w', 'W'],
];
/** Of these the value is a word of the API. */
const WORDS: Partial<Record<string, string>> = { action: 'clock.did', control_state: 'control' };
const SILENT = new Set(['outcome', 'items', 'detail']);

function shown(key: string, value: unknown): string {
  if (value == null) return '–';
  if (typeof value === 'boolean') return t(value ? 'value.on' : 'value.off');
  if (key.endsWith('offset_s') || key.endsWith('_before_s')) return offsetText(Number(value));
  if (typeof value === 'number') {
    const unit = UNITS.find(([suffix]) => key.endsWith(suffix))?.[1];
    if (!unit) return String(value);
    const { text, unit: prefixed } = qty(value, unit);
    return `${text} ${prefixed}`;
  }
  if (Array.isArray(value)) return value.map((one) => word('purpose', String(one))).join(', ');
  const prefix = WORDS[key];
  return typeof value === 'string' && prefix ? word(prefix, value) : String(value);
}

export function readBack(job: Job): [string, string][] {
  const result = job.result as { read_back?: unknown } | null;
  const back = result && typeof result === 'object' && 'read_back' in result ? result.read_back : result;
  if (back == null) return [];
  if (typeof back !== 'object') return [[t('command.answer'), String(back)]];
  return Object.entries(back).flatMap(([key, value]): [string, string][] => {
    if (SILENT.has(key)) return [];
    if (key === 'fingerprints' && value && typeof value === 'object')
      return Object.entries(value).map(([purpose, hex]) => [word('purpose', purpose), String(hex)]);
    return [[word('readback', key), shown(key, value)]];
  });
}
