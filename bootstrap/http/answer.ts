// What the boot plane answers, apart from HTTP.
export interface Answer {
  status: number;
  type: string;
  body: string;
}

export const TEXT = "text/plain; charset=utf-8";
