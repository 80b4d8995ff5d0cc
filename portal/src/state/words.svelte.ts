/** Text, numbers and times in the chosen language. Reading them in markup follows the language. */
import { ApiError } from '../api/client';
import type { Problem, Told, Values } from '../api/types';
import { DASH, count, decimal, percent, quantity, type Quantity } from '../format/number';
import * as time from '../format/time';
import { LOSSES, parseObis } from '../format/obis';
import type { MessageKey } from '../messages/en';
import { now } from './now.svelte';
import { settings } from './settings.svelte';

function isKey(key: string): key is MessageKey {
  return key in settings.messages;
}

export function t(key: MessageKey, values: Values = {}): string {
  return settings.messages[key].replace(/\{(\w+)\}/g, (whole, name: string) =>
    name in values ? String(values[name]) : whole,
  );
}

/** The message for a word of the API (a state, a kind), or the word itself where it is new. */
export function word(prefix: string, value: string | null | undefined): string {
  if (!value) return DASH;
  const key = `${prefix}.${value}`;
  return isKey(key) ? t(key) : value.replace(/[_-]/g, ' ');
}

/** A value in a sentence: a number as people write it, or with a prefix the word for it. */
function filled(value: string | number, prefix: string | undefined): string {
  if (typeof value === 'number') return decimal(value, Number.isInteger(value) ? 0 : 2, settings.locale);
  if (!prefix) return value;
  const one = (part: string): string => settings.sentences[`${prefix}.${part}`] ?? word(prefix, part);
  return value.split(', ').map(one).join(', ');
}

/** A sentence of the control centre by its code, or as it came where this language has none. */
function sentence(text: string, code: string | null | undefined, values: Values = {}): string {
  const template = settings.sentences[code ?? ''];
  if (!template) return text;
  return template.replace(/\{(\w+)(?::([\w.-]+))?\}/g, (whole, name: string, prefix?: string) => {
    const value = values[name];
    return value === undefined ? whole : filled(value, prefix);
  });
}

/** A field of an answer that is a sentence, in the reader's language. */
export function told<F extends string>(answer: Told<F, string | null>, field: F): string {
  const fields = answer as Record<string, unknown>;
  const code = fields[`${field}_code`] as string | null | undefined;
  return sentence(answer[field] ?? '', code, fields[`${field}_values`] as Values | undefined);
}

/** The same with what to try, where the field is the sentence of an error. */
export function toldWhole<F extends string>(answer: Told<F, string | null>, field: F): string {
  const fields = answer as Record<string, unknown>;
  const remedy = `${String(fields[`${field}_code`])}.remedy`;
  const values = fields[`${field}_values`] as Values | undefined;
  return `${told(answer, field)} ${sentence('', remedy, values)}`.trim();
}

/** The message for a name that a site's description usually has, or the name itself. */
function known(prefix: string, name: string): string {
  const key = `${prefix}.${name.toLowerCase()}`;
  return isKey(key) ? t(key) : name;
}

/** An event in the reader's language; what no message knows is shown as the meter's log says it. */
export function eventText(event: { name: string; text: string }): string {
  const key = `event.${event.name}`;
  const code = /^code_(\d+)$/.exec(event.name)?.[1];
  return isKey(key) ? t(key) : code ? t('events.unknown', { n: code }) : event.text;
}

const capital = (text: string): string => text.charAt(0).toLocaleUpperCase(settings.locale) + text.slice(1);
const GROUPS = ['voltage', 'current', 'supply', 'tamper', 'clock', 'access', 'control', 'payment', 'device', 'readings'] as const;
/** The groups that events come in, by their words. */
export function eventGroups(): [id: string, text: string][] {
  return GROUPS.map((id): [string, string] => [id, capital(t(`group.${id}`))]).sort((a, b) => a[1].localeCompare(b[1]));
}

/**
 * A register or channel in the reader's language, from its OBIS code. In English the control
 * centre's own name is the better one.
 */
export function obisName(obis: string | null | undefined, name: string): string {
  if (settings.language === 'en') return name;
  const code = parseObis(obis);
  const key = `obis.c.${code?.quantity ?? ''}`;
  if (!code || !isKey(key)) return known('channel', name);
  const base = t(key);
  const phased = code.phase ? t('obis.phase', { name: base, n: code.phase }) : base;
  const plain = t(`obis.d.${code.kind}`, { name: phased });
  const whole = code.extreme ? t(`obis.${code.extreme}`, { name: plain }) : plain;
  const loss = code.quantity === LOSSES ? /\b[A-Z][A-Z0-9]{2}\b/.exec(name)?.[0] : null;
  if (loss) return `${whole} ${loss}`;
  return code.tariff ? t('obis.tariff', { name: whole, n: code.tariff }) : whole;
}

/** What is printed beside a lamp or on a button: in other languages by what it means. */
export function frontText(label: string): string {
  if (settings.language === 'en') return label;
  const [, name = label, number = ''] = /^(\w+?) ?(\d*)$/.exec(label) ?? [];
  const key = `front.${name.toLowerCase()}`;
  return isKey(key) ? `${t(key)} ${number}`.trim() : label;
}

/** A model by its name; meters behind another one are called by what they count. */
export function modelName(model: string | null | undefined, name: string | null | undefined): string {
  const key = `model.${model ?? ''}`;
  return isKey(key) ? t(key) : (name ?? model ?? '');
}

/** One or many: `key.one` for 1, else `key.other`. */
export function plural(key: string, n: number, values: Values = {}): string {
  const form = `${key}.${n === 1 ? 'one' : 'other'}`;
  return isKey(form) ? t(form, { n: num(n), ...values }) : form;
}

export function num(value: number | null | undefined): string {
  return count(value, settings.locale);
}
export function fixed(value: number, decimals: number): string {
  return decimal(value, decimals, settings.locale);
}
export function share(ratio: number | null | undefined, decimals = 1): string {
  return percent(ratio, settings.locale, decimals);
}
export function qty(value: number | null | undefined, unit: string): Quantity {
  return quantity(value, unit, settings.locale);
}
export function ago(at: string | null | undefined): string {
  if (!at) return t('age.never');
  const { key, n } = time.age(Date.parse(at), now.ms);
  return t(key, { n });
}
/** The share of a key's numbers that is used, also where it is next to nothing. */
export function usedText(used: number): string {
  return used > 0 && used < 0.0001 ? `< ${share(0.0001, 2)}` : share(used, 2);
}
/** A relay by its number, as its terminals are labelled. */
export function relayName(relay: string): string {
  const number = /(\d+)$/.exec(relay)?.[1];
  return number ? t('relay.n', { n: number }) : relay;
}
/** How far a clock is off, in words. */
export function offsetText(seconds: number | null | undefined): string {
  if (seconds == null) return DASH;
  if (!seconds) return t('clock.right');
  return t(seconds > 0 ? 'clock.ahead' : 'clock.behind', { n: num(Math.abs(seconds)) });
}
export const at = {
  clock: (ms: number, zone: string) => time.clock(ms, zone, settings.locale),
  clockSeconds: (ms: number, zone: string) => time.clockSeconds(ms, zone, settings.locale),
  day: (ms: number, zone: string) => time.day(ms, zone, settings.locale),
  date: (ms: number, zone: string) => time.date(ms, zone, settings.locale),
  shortDay: (ms: number, zone: string) => time.shortDay(ms, zone, settings.locale),
  month: (ms: number, zone: string) => time.month(ms, zone, settings.locale),
  dayAndClock: (ms: number, zone: string) => time.dayAndClock(ms, zone, settings.locale),
  exact: (ms: number, zone: string) => time.exact(ms, zone, settings.locale),
  zone: (ms: number, zone: string) => time.zoneName(ms, zone, settings.locale),
};

export interface Fault {
  detail: string;
  remedy: string | null;
  status: number;
}

/** A problem of the control centre in the reader's language; without a sentence, its number. */
export function problemOf(problem: Partial<Problem>, status: number): Fault {
  const { detail, remedy, code, values } = problem;
  if (!status) return { detail: t('error.unreachable'), remedy: t('error.unreachable.remedy'), status };
  if (!detail) return { detail: t('error.status', { n: status }), remedy: t('error.unexpected.remedy'), status };
  const advice = sentence(remedy ?? '', `${code ?? ''}.remedy`, values);
  return { detail: sentence(detail, code, values), remedy: advice || null, status };
}

/** What to show for anything that was thrown while asking the control centre. */
export function faultOf(cause: unknown): Fault {
  if (cause instanceof ApiError) return problemOf(cause.problem, cause.status);
  return { detail: t('error.unexpected'), remedy: t('error.unexpected.remedy'), status: -1 };
}
