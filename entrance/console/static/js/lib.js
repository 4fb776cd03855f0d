// Preact and htm under one roof, so that no other file names the vendored one.
export {
  html, render, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback,
} from "../vendor/preact-htm.module.js";
