/** A plot as data. `client.mjs` hands it to the plotting library. */

export interface Axis {
  title: string;
  /** The base of a logarithmic axis; null: it is linear. */
  log: 2 | 10 | null;
  /** Labels of 0, 1, 2, ...; null: the axis has numbers. */
  categories: string[] | null;
}

export interface Series {
  label: string;
  /** Index of a colour; null: that of a bound, which nothing measured reaches by much. */
  color: number | null;
  /** Index of the file: it chooses dashes and the fill of points. */
  style: number;
  shape: "line" | "points" | "bar";
  /** One for each of `Chart.xs`. */
  ys: (number | null)[];
  /** What a point says when it is pointed at. */
  notes: (string | null)[];
}

export interface Chart {
  title: string;
  /** The choice that shows this chart; null: it is always shown. */
  measure: string | null;
  isWide: boolean;
  x: Axis;
  y: Axis;
  /** Ascending. An x is there twice if a series has two points at it. */
  xs: number[];
  series: Series[];
}

export interface Point {
  x: number;
  y: number;
  note: string | null;
}

/** A series before all of a chart share their x. */
export type FreeSeries = Omit<Series, "ys" | "notes"> & { points: Point[] };

/** Gives all series the same x, as the plotting library wants them. */
export function sharedColumns(series: readonly FreeSeries[]): Pick<Chart, "xs" | "series"> {
  const columns = new Map<number, number>();
  for (const { points } of series) {
    const counts = new Map<number, number>();
    for (const { x } of points) counts.set(x, (counts.get(x) ?? 0) + 1);
    for (const [x, count] of counts) columns.set(x, Math.max(columns.get(x) ?? 0, count));
  }
  const xs = [...columns].sort(([a], [b]) => a - b).flatMap(([x, count]) => Array.from({ length: count }, () => x));
  return {
    xs,
    series: series.map(({ points, ...rest }) => {
      const ys = xs.map((): number | null => null);
      const notes = xs.map((): string | null => null);
      for (const { x, y, note } of points) {
        let at = xs.indexOf(x);
        while (ys[at] !== null) at++;
        ys[at] = y;
        notes[at] = note;
      }
      return { ...rest, ys, notes };
    }),
  };
}

/** A logarithmic axis is for values of more than so many times the least. */
export function logOf(values: readonly number[], base: 2 | 10, span: number): 2 | 10 | null {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return least > 0 && most / least >= span ? base : null;
}
