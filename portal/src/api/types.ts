/** The control centre's answers, as docs/api.md promises them. Missing is null, never 0. */

/** What fills the holes of a sentence. */
export type Values = Record<string, string | number>;
/** Beside an English sentence `x` stand its code and values, to say it in another language. */
export type Told<F extends string, T = string> = { [K in F]: T } & {
  [K in `${F}_code`]?: string | null;
} & { [K in `${F}_values`]?: Values };

export type Role = 'viewer' | 'manager' | 'installer' | 'admin' | 'consumer';
export interface Session {
  user: string;
  role: Role;
  csrf: string;
  /** The one point that a consumer sees. */
  point?: string | null;
}
export interface Site {
  name: string;
  timezone: string;
  version: string;
  started_at: string;
  now: string;
  simulated: boolean;
  demo_login?: { user: string; password: string } | null;
}
export interface Named {
  id: string;
  name: string;
}
export type PointState = string;
export interface FeederNow extends Named {
  points: number;
  load_w: number | null;
  export_w: number | null;
  energy_today_wh: number | null;
  alarms: number;
}
export interface Station extends Named {
  feeders: FeederNow[];
}
export interface DayRatio {
  day: string;
  ratio: number | null;
}
export interface Overview {
  now: string;
  load_w: number | null;
  export_w: number | null;
  meters: { total: number; reachable: number; silent: number };
  completeness: {
    expected: number;
    received: number;
    ratio: number | null;
    days: DayRatio[];
  };
  stations: Station[];
  events: MeterEvent[];
  jobs: Job[];
}
export type Severity = 'info' | 'warning' | 'alarm';
export interface MeterEvent {
  id: string | number;
  at: string;
  received_at: string | null;
  /** When the meter sent it by itself; null where it was found in the meter's log. */
  pushed_at?: string | null;
  point: Named;
  feeder?: Named | null;
  name: string;
  text: string;
  severity: Severity;
  group: string | null;
  code: number | string | null;
  phase: number | null;
  value?: number | string | null;
  location?: ({ station?: Named | null; feeder?: Named | null } & Told<'text'>) | null;
  acknowledged?: { by: string; at: string } | null;
}
export interface Page<T> {
  items: T[];
  total: number;
  page?: number;
  size?: number;
}
export interface RegisterValue {
  obis?: string;
  value: string | number | null;
  unit?: string | null;
}
export interface PointRow extends Named {
  address: string | null;
  kind: string | null;
  medium: string;
  station: Named | null;
  feeder: Named | null;
  serial: string | null;
  model: string | null;
  model_name: string | null;
  state: PointState;
  last_answer_at: string | null;
  power_w: number | null;
  energy_today_wh: number | null;
  alarms: number;
  completeness: number | null;
  last_error: LastError | null;
  register?: RegisterValue | null;
}
export interface LastError extends Told<'text'> {
  kind: string;
  at: string;
}
export interface Channel {
  id: string;
  name: string;
  obis: string | null;
  unit: string;
  step_s: number;
  kind: string;
}
export interface MeterIdentity {
  serial: string | null;
  model: string | null;
  model_name: string | null;
  manufacturer: string | null;
  host: string | null;
  port: number | null;
  client: number | null;
  firmware: string | null;
  system_title: string | null;
  installed_at: string | null;
  phases: number | null;
  rated: string | Record<string, unknown> | null;
}
export interface Point extends Named {
  address: string | null;
  kind: string | null;
  medium: string;
  station: Named | null;
  feeder: Named | null;
  timezone: string;
  meter: MeterIdentity;
  state: PointState;
  last_answer_at: string | null;
  last_error: LastError | null;
  channels: Channel[];
  capabilities: string[];
  commands?: Command[];
  relays?: string[];
  protected?: boolean;
  children?: string[];
  parent?: string | null;
}
export interface LiveValue {
  obis: string | null;
  name: string;
  phase: number | null;
  quantity: string;
  value: number | null;
  unit: string;
}
export interface Live {
  at: string;
  values: LiveValue[];
  point?: string;
}
/** The stream's word that the meter gave no values this time. */
export interface LiveFailure {
  point?: string;
  at: null;
  error: { kind: string } & Partial<Problem>;
}
export interface RegisterRow {
  obis: string;
  name: string;
  value: string | null;
  unit: string | null;
  tariff: number | string | null;
  digits: number | null;
  at?: string | null;
}
export interface Registers {
  at: string;
  rows: RegisterRow[];
}
export interface Display {
  at: string;
  mode: string;
  code: string | null;
  value: string | null;
  unit: string | null;
  digits: number | null;
  decimals: number | null;
  annunciators: { id: string; label: string; on: boolean }[];
  leds: { id: string; label: string; state: string; imp_per_kwh?: number | null }[];
  buttons: Button[];
  list: { name: string; index: number; length: number } | null;
}
export interface Button {
  id: string;
  label: string;
}
export type Quality = 'valid' | 'estimated' | 'edited' | 'suspect' | 'missing';
export interface Slot {
  start: string;
  end: string;
  value: number | null;
  min: number | null;
  max: number | null;
  quality: Quality;
  source: string | null;
  received?: number;
  expected?: number;
}
export interface Finding extends Told<'text'> {
  rule: string;
  severity: string;
  channel: string;
  start: string;
  end: string;
  slots: number;
}
export interface Token {
  id: string;
  title: string;
  created_at: string | null;
  expires_at: string | null;
  last_used_at?: string | null;
  token?: string;
}
export interface Profile {
  channel: string;
  name: string;
  unit: string;
  timezone: string;
  resolution: string;
  step_s: number | null;
  slots: Slot[];
  register: { first: number | null; last: number | null } | null;
  sum: number | null;
}
export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';
export interface Job extends Told<'title'>, Told<'message', string | null> {
  id: string | number;
  kind: string;
  state: JobState;
  progress: { done: number; total: number } | null;
  started_at: string | null;
  ended_at: string | null;
  result: unknown;
}
export type Command = 'disconnect' | 'release' | 'connect' | 'set-clock' | 'relay' | 'limit' | 'credit';
export interface Confirmation extends Told<'place'>, Told<'consequence'> {
  confirm: string;
  expires_at: string;
  /** How many points a group's action reaches. */
  points?: number;
}
export interface Supply {
  at: string;
  output_state: boolean | null;
  control_state: string | null;
  limit_w: number | null;
  active_limit_w: number | null;
  prepaid: boolean | null;
  balance_wh: number | null;
  available_wh: number | null;
  sales: { id: string; at: string; user: string | null; energy_wh: number; state: string }[];
}
export interface ClockRule {
  leave_s: number;
  shift_s: number;
  set_s: number;
}
export interface MeterClock {
  /** Seconds that the meter is ahead. */
  offset_s: number | null;
  checked_at: string | null;
  drift_s_per_day: number | null;
  drift_ppm: number | null;
  rule: ClockRule;
  proposed: string;
  history: { at: string; action: string; before_s: number | null; after_s: number | null; user: string | null }[];
}
export interface Clocks {
  items: { point: Named; offset_s: number | null; checked_at: string | null; drift_s_per_day: number | null; proposed: string }[];
  rule: ClockRule;
}
export interface MeterKeys {
  items: ({
    purpose: string;
    held: boolean;
    changed_at: string | null;
    fingerprint: string | null;
    can_change: boolean;
  } & Told<'why_not'>)[];
  pending: { id: string | number; purposes: string[]; state: string; started_at: string; user: string | null } | null;
  history: { at: string; user: string | null; purposes: string[]; outcome: string; detail: string }[];
}
export interface SecurityStanding {
  point: Named;
  mechanism: string;
  ciphered: boolean;
  suite: number;
  keys_changed_at: string | null;
  /** A change of keys was begun and nobody knows yet which ones the meter has. */
  unsettled: boolean;
  clock_offset_s: number | null;
  /** Invocation counters of the key in force: ours, the meter's, the last number there is, the share used. */
  counters: { sent: number; received: number; last: number; used: number } | null;
}
export interface CurvePoint {
  /** Of the rated current. */
  share: number;
  /** Indicated over true. */
  ratio: number;
  /** Minutes of arc that the indication leads. */
  phase_min: number;
}
export interface CurrentTransformer {
  serial: string;
  rated_a: number;
  points: CurvePoint[];
  measured_at: string;
  station: string;
  /** Where it is attached; empty where nowhere. */
  point: string;
  /** The name of that point, in the list of all. */
  place?: string;
  channel: number;
  /** Empty while the meter there holds other constants. */
  attached_at: string;
}
export interface CurrentInputs {
  items: { channel: number; transformer: CurrentTransformer | null }[];
  history: { at: string; user: string; serial: string; channel: number }[];
}
export interface Push extends Told<'detail'> {
  id: string | number;
  at: string;
  point: Named | null;
  from: string | null;
  transport: string;
  counter: number | null;
  outcome: string;
  events: number;
  values: number;
}
export interface PushPort {
  listening: { host: string; port: number; tcp: boolean; udp: boolean } | null;
  counters: Record<string, number>;
  unknown: ({ at: string; from: string; meter: string | null; count: number } & Told<'reason'>)[];
  items: Push[];
}
export interface BalanceSlot {
  start: string;
  end?: string;
  metered_wh: number | null;
  feeder_wh: number | null;
  loss_wh: number | null;
  complete: boolean;
}
export interface Balance {
  feeder: Named;
  resolution?: string;
  slots: BalanceSlot[];
}
export interface Schedule {
  group: string;
  task: string;
  every_s: number;
  last_run_at: string | null;
  next_run_at: string | null;
  ok: number;
  failed: number;
  duration_s: number | null;
}
export interface Collection {
  schedules: Schedule[];
  outcomes: Record<string, number>;
  completeness: Overview['completeness'];
  silent: PointRow[];
}
export interface User {
  name: string;
  role: Role;
  enabled: boolean;
  created_at: string | null;
  last_login_at: string | null;
  point?: string | null;
}
export interface AuditEntry {
  id: number;
  at: string;
  user: string | null;
  action: string;
  target: string | null;
  outcome: string | null;
  detail: unknown;
}
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  remedy?: string | null;
  /** Of the detail; the remedy's code has `.remedy` behind it. */
  code?: string | null;
  values?: Values;
}
