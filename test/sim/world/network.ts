/**
 * The links of a world: between two ends, in one direction, on one plane. Planes fail apart. A cut link delivers
 * nothing; what was under way is lost.
 */

export type Plane = 'daemon-etcd' | 'etcd' | 'daemon-daemon' | 'replication' | 'client';

export class Network {
  private readonly cuts = new Map<string, number>();
  private readonly healed: (() => void)[] = [];

  private key(plane: Plane, from: string, to: string): string {
    return `${plane}:${from}>${to}`;
  }

  /** Cuts one direction; what it returns heals it. Cuts over cuts count. */
  cut(plane: Plane, from: string, to: string): () => void {
    const key = this.key(plane, from, to);
    this.cuts.set(key, (this.cuts.get(key) ?? 0) + 1);
    for (const listener of this.healed) listener();
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      const left = (this.cuts.get(key) ?? 1) - 1;
      if (left <= 0) this.cuts.delete(key);
      else this.cuts.set(key, left);
      for (const listener of this.healed) listener();
    };
  }

  /** Both directions. */
  cutBoth(plane: Plane, a: string, b: string): () => void {
    const one = this.cut(plane, a, b);
    const other = this.cut(plane, b, a);
    return () => {
      one();
      other();
    };
  }

  passes(plane: Plane, from: string, to: string): boolean {
    return this.cuts.size === 0 || !this.cuts.has(this.key(plane, from, to));
  }

  /** Both ways: a connection works. */
  connects(plane: Plane, a: string, b: string): boolean {
    return this.passes(plane, a, b) && this.passes(plane, b, a);
  }

  /** Called when something was cut or healed. */
  onChange(listener: () => void): void {
    this.healed.push(listener);
  }
}
