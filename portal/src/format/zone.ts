/**
 * Civil time in any IANA zone on UTC instants (milliseconds).
 *
 * A local day has 23, 24 or 25 hours; every axis of the portal is laid out in UTC and labelled
 * here, so a day is drawn as long as it was.
 */

export interface Civil {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(zone, format);
  }
  return format;
}

export function civil(at_ms: number, zone: string): Civil {
  const parts: Record<string, number> = {};
  for (const part of formatOf(zone).formatToParts(at_ms)) parts[part.type] = Number(part.value);
  return {
    year: parts['year'] ?? 0,
    month: parts['month'] ?? 0,
    day: parts['day'] ?? 0,
    hour: parts['hour'] ?? 0,
    minute: parts['minute'] ?? 0,
    second: parts['second'] ?? 0,
  };
}

/** How far the zone's clocks stand ahead of UTC at an instant. */
export function offsetMs(at_ms: number, zone: string): number {
  const c = civil(at_ms, zone);
  const whole = Math.floor(at_ms / 1000) * 1000;
  return Date.UTC(c.year, c.month - 1, c.day, c.hour, c.minute, c.second) - whole;
}

/** The instant of a civil time; in the hour that happens twice the first, in a gap the moment after. */
export function instant(zone: string, year: number, month: number, day: number, hour = 0): number {
  const wall = Date.UTC(year, month - 1, day, hour);
  const early = wall - offsetMs(wall - DAY_MS, zone);
  if (early + offsetMs(early, zone) === wall) return early;
  const late = wall - offsetMs(wall + DAY_MS, zone);
  return late + offsetMs(late, zone) === wall ? late : early;
}

export function startOfDay(at_ms: number, zone: string): number {
  const c = civil(at_ms, zone);
  return instant(zone, c.year, c.month, c.day);
}

/** Midnight some civil days away: across a clock change that is not a multiple of 24 h. */
export function addDays(midnight_ms: number, days: number, zone: string): number {
  const c = civil(midnight_ms, zone);
  const moved = new Date(Date.UTC(c.year, c.month - 1, c.day + days));
  return instant(zone, moved.getUTCFullYear(), moved.getUTCMonth() + 1, moved.getUTCDate());
}

/** Monday is 0. */
export function weekday(at_ms: number, zone: string): number {
  const c = civil(at_ms, zone);
  return (new Date(Date.UTC(c.year, c.month - 1, c.day)).getUTCDay() + 6) % 7;
}

export function startOfWeek(at_ms: number, zone: string): number {
  return addDays(startOfDay(at_ms, zone), -weekday(at_ms, zone), zone);
}

export function startOfMonth(at_ms: number, zone: string, months = 0): number {
  const c = civil(at_ms, zone);
  const moved = new Date(Date.UTC(c.year, c.month - 1 + months, 1));
  return instant(zone, moved.getUTCFullYear(), moved.getUTCMonth() + 1, 1);
}

export function startOfYear(at_ms: number, zone: string, years = 0): number {
  return instant(zone, civil(at_ms, zone).year + years, 1, 1);
}

export function isoDay(at_ms: number, zone: string): string {
  const c = civil(at_ms, zone);
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${c.year}-${two(c.month)}-${two(c.day)}`;
}

/** Midnight of `2026-03-29` in the zone, or null when that is not a day of the calendar. */
export function parseDay(text: string, zone: string): number | null {
  const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text);
  if (!match) return null;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const check = new Date(Date.UTC(year, month - 1, day));
  if (check.getUTCMonth() !== month - 1 || check.getUTCDate() !== day) return null;
  return instant(zone, year, month, day);
}

export interface ClockChange {
  at_ms: number;
  hours: number;
}

/** Where the zone's clocks are put forward (+) or back (−) between two instants. */
export function clockChanges(from_ms: number, to_ms: number, zone: string): ClockChange[] {
  const changes: ClockChange[] = [];
  for (let start = from_ms; start < to_ms; start += 7 * DAY_MS) {
    const end = Math.min(start + 7 * DAY_MS, to_ms);
    if (offsetMs(start, zone) === offsetMs(end, zone)) continue;
    let [low, high] = [start, end];
    while (high - low > 60_000) {
      const middle = Math.floor((low + high) / 2 / 60_000) * 60_000;
      if (middle <= low) break;
      if (offsetMs(middle, zone) === offsetMs(start, zone)) low = middle;
      else high = middle;
    }
    changes.push({
      at_ms: high,
      hours: (offsetMs(end, zone) - offsetMs(start, zone)) / HOUR_MS,
    });
  }
  return changes;
}

export type TickUnit = 'minute' | 'hour' | 'day' | 'week' | 'month';
export interface Axis {
  unit: TickUnit;
  ticks: number[];
}

const MINUTE_STEPS = [5, 10, 15, 30];
const HOUR_STEPS = [1, 2, 3, 6, 12];

/** Ticks on whole local minutes, hours, days or months, at most about `most` of them. */
export function axis(from_ms: number, to_ms: number, zone: string, most = 12): Axis {
  const span = to_ms - from_ms;
  for (const step of MINUTE_STEPS)
    if (span / (step * 60_000) <= most)
      return { unit: 'minute', ticks: evenTicks(from_ms, to_ms, zone, step * 60_000) };
  for (const step of HOUR_STEPS)
    if (span / (step * HOUR_MS) <= most) return { unit: 'hour', ticks: hourTicks(from_ms, to_ms, zone, step) };
  for (const step of [1, 2, 7, 14])
    if (span / (step * DAY_MS) <= most)
      return { unit: step >= 7 ? 'week' : 'day', ticks: dayTicks(from_ms, to_ms, zone, step) };
  const months = Math.max(1, Math.ceil(span / (30 * DAY_MS) / most));
  const ticks: number[] = [];
  for (let t = startOfMonth(from_ms, zone); t <= to_ms; t = startOfMonth(t, zone, months))
    if (t >= from_ms) ticks.push(t);
  return { unit: 'month', ticks };
}

function evenTicks(from_ms: number, to_ms: number, zone: string, step_ms: number): number[] {
  const ticks: number[] = [];
  const base = startOfDay(from_ms, zone);
  for (let t = base + Math.ceil((from_ms - base) / step_ms) * step_ms; t <= to_ms; t += step_ms) ticks.push(t);
  return ticks;
}

/** Every hour that exists, kept when its local number divides: 02:00 may be missing or come twice. */
function hourTicks(from_ms: number, to_ms: number, zone: string, step: number): number[] {
  const ticks: number[] = [];
  const first = startOfDay(from_ms, zone);
  for (let t = first; t <= to_ms; t += HOUR_MS)
    if (t >= from_ms && civil(t, zone).hour % step === 0) ticks.push(t);
  return ticks;
}

function dayTicks(from_ms: number, to_ms: number, zone: string, step: number): number[] {
  const ticks: number[] = [];
  const first = step >= 7 ? startOfWeek(from_ms, zone) : startOfDay(from_ms, zone);
  for (let t = first; t <= to_ms; t = addDays(t, step, zone)) if (t >= from_ms) ticks.push(t);
  return ticks;
}
