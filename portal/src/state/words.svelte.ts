/** Text, numbers and times in the chosen language. Reading them in markup follows the language. */
import { ApiError } from '../api/client';
import { DASH, count, decimal, percent, quantity, type Quantity } from '../format/number';
import * as time from '../format/time';
import { parseObis } from '../format/obis';
import type { MessageKey } from '../messages/en';
import { now } from './now.svelte';
import { settings } from './settings.svelte';

type Values = Record<string, string | number>;

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

/** An event in the reader's language; what no message knows is shown as the meter's log says it. */
export function eventText(event: { name: string; text: string }): string {
  const key = `event.${event.name}`;
  return isKey(key) ? t(key) : event.text;
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
  const code = settings.language === 'en' ? null : parseObis(obis);
  if (!code) return name;
  const key = `obis.c.${code.quantity}`;
  if (!isKey(key)) return name;
  const base = t(key);
  const phased = code.phase ? t('obis.phase', { name: base, n: code.phase }) : base;
  const whole = t(`obis.d.${code.kind}`, { name: phased });
  return code.tariff ? t('obis.tariff', { name: whole, n: code.tariff }) : whole;
}

/** A finding in the reader's language; in English the control centre's own sentence says more. */
export function findingText(finding: { rule: string; text: string }): string {
  const key = `rule.${finding.rule}`;
  return settings.language !== 'en' && isKey(key) ? t(key) : finding.text;
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

/** What to show for anything that was thrown while asking the control centre. */
export function faultOf(cause: unknown): Fault {
  if (cause instanceof ApiError) {
    const detail = isKey(cause.message) ? t(cause.message) : cause.message;
    const remedy = cause.remedy && isKey(cause.remedy) ? t(cause.remedy) : cause.remedy;
    return { detail, remedy, status: cause.status };
  }
  return { detail: t('error.unexpected'), remedy: t('error.unexpected.remedy'), status: -1 };
}
