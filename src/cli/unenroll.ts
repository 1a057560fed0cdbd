/** `warren unenroll`: see enroll, which it undoes. */
export { registerUnenroll } from "./enroll.ts";
