/** One disturbance on a feeder makes an event at every meter: gathered, it is one line. */
import type { MeterEvent, Severity } from '../api/types';

export interface Line {
  /** Of the newest event, so that a line keeps its place when older ones join it. */
  id: string;
  /** Newest first; more than one where a disturbance was seen at several points. */
  events: MeterEvent[];
  /** What happened, without beginning or end. */
  kind: string;
  points: number;
  severity: Severity;
}
/** Events of one kind on one feeder that are no further apart belong together. */
export const APART_MS = 15_000;
/** From this many points on it is the feeder's matter, not a customer's. */
export const POINTS_MIN = 3;
/** What happens on the line; the rest is each customer's own. */
const FEEDER_GROUPS = new Set(['voltage', 'supply', 'power_quality']);
const RANK: Record<Severity, number> = { info: 0, warning: 1, alarm: 2 };

export function kindOf(name: string): string {
  return name.replace(/_(start|end)$/, '');
}

/** Events, newest first, as lines; the order is that of each line's newest event. */
export function gathered(events: readonly MeterEvent[]): Line[] {
  const groups: { key: string; events: MeterEvent[] }[] = [];
  const open = new Map<string, { key: string; events: MeterEvent[] }>();
  for (const event of events) {
    const feeder = event.feeder ?? event.location?.feeder;
    const key = feeder && FEEDER_GROUPS.has(event.group ?? '') ? `${feeder.id} ${kindOf(event.name)}` : '';
    const last = open.get(key);
    const oldest = last?.events.at(-1);
    if (key && last && oldest && Date.parse(oldest.at) - Date.parse(event.at) <= APART_MS) {
      last.events.push(event);
      continue;
    }
    const group = { key, events: [event] };
    groups.push(group);
    if (key) open.set(key, group);
  }
  return groups
    .flatMap((group) => (new Set(group.events.map((event) => event.point.id)).size >= POINTS_MIN ? [group.events] : group.events.map((event) => [event])))
    .map(lineOf)
    .sort((a, b) => Date.parse(b.events[0]?.at ?? '') - Date.parse(a.events[0]?.at ?? ''));
}

function lineOf(events: MeterEvent[]): Line {
  const first = events[0] as MeterEvent;
  return {
    id: String(first.id),
    events,
    kind: kindOf(first.name),
    points: new Set(events.map((event) => event.point.id)).size,
    severity: events.reduce<Severity>((worst, event) => (RANK[event.severity] > RANK[worst] ? event.severity : worst), 'info'),
  };
}
