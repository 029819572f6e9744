import { defineConfig, type BuildOptions } from "vite";

// One source, three uses: the page, the report's part that moves, the notebook's widget. Every name stays as it is:
// the built files are committed and compared.
const USES: Record<string, BuildOptions> = {
  page: {
    outDir: "../static",
    rollupOptions: { output: { entryFileNames: "assets/page.js", assetFileNames: "assets/page[extname]" } },
  },
  report: {
    outDir: "../../report/static",
    rollupOptions: { input: "src/report.tsx", output: { entryFileNames: "explore.js", format: "iife" } },
  },
  notebook: {
    outDir: "../notebook",
    rollupOptions: { input: "src/notebook.tsx", preserveEntrySignatures: "strict", output: { entryFileNames: "widget.js", format: "es" } },
  },
};

export default defineConfig(({ mode }) => ({
  base: "./",
  build: { emptyOutDir: true, target: "es2022", modulePreload: false, ...USES[mode] },
}));
