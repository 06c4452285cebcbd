export function serve(options: {
  folders: Record<string, string>;
  port?: number;
  isolated?: boolean;
}): Promise<{ url: string; close: () => void }>;
