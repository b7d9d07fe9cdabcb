/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Curves: how cost grows. Figures hold series of points; they are drawn in the terminal and as SVG by gnuplot, and
 * saved as JSON (docs/benchmarks.md).
 */
#ifndef LH_BENCH_CURVES_H
#define LH_BENCH_CURVES_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_X 1u
#define LOG_Y 2u
/* Starts a figure; name is its file's. What is added until the next one belongs to it. */
void curve_figure(const char *name, const char *title, const char *x_label, const char *y_label, unsigned log_axes);
void curve_point(const char *series, double x, double y);
/* A sentence under the running work. */
void curve_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Whether figures of this kind are wanted, by --curves 'PATTERN ...'. */
bool curve_wanted(const char *kind);

/* The measurements; 0 or -errno. max_files: the largest number of files, by memory. */
int curves_files(uint64_t max_files);
int curves_extents(void);
int curves_space(void);

/* Runs what is wanted, draws and saves into dir. 0: all went well. */
int curves_run(const char *dir, char *const *patterns, unsigned pattern_count);

#endif
