/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the points, then hands them to gnuplot (terminal and SVG) and to a JSON file. */
#include "curves.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/types.h"
#include "bench.h"

#define FIGURES_MAX 16u
#define SERIES_MAX  8u
#define POINTS_MAX  32u
#define PATH_ROOM   512
/* What a file may cost in memory at most, with the pool behind it, when the largest number is chosen. */
#define FILE_MEMORY 1200u

struct series {
	char name[48];
	double x[POINTS_MAX], y[POINTS_MAX];
	unsigned count;
};
struct figure {
	const char *name, *title, *x_label, *y_label;
	unsigned log_axes;
	struct series series[SERIES_MAX];
	unsigned count;
};

static struct {
	struct figure figures[FIGURES_MAX];
	unsigned count, pattern_count;
	char *const *patterns;
} all;

void curve_figure(const char *name, const char *title, const char *x_label, const char *y_label, unsigned log_axes)
{
	assert(all.count < FIGURES_MAX);
	all.figures[all.count++] =
	    (struct figure){.name = name, .title = title, .x_label = x_label, .y_label = y_label, .log_axes = log_axes};
}

void curve_point(const char *name, double x, double y)
{
	struct figure *f = &all.figures[all.count - 1];
	struct series *s = f->series;

	while (s < f->series + f->count && strcmp(s->name, name) != 0)
		s++;
	if (s == f->series + f->count) {
		assert(f->count < SERIES_MAX);
		snprintf(s->name, sizeof(s->name), "%s", name);
		f->count++;
	}
	assert(s->count < POINTS_MAX);
	s->x[s->count] = x;
	s->y[s->count++] = y;
}

void curve_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

bool curve_wanted(const char *kind)
{
	for (unsigned i = 0; i < all.pattern_count; i++) {
		if (fnmatch(all.patterns[i], kind, 0) == 0)
			return true;
	}
	return all.pattern_count == 0;
}

/* --- drawing -------------------------------------------------------------------------------------------------------
 */

static void plot_data(FILE *to, const struct figure *f)
{
	for (unsigned s = 0; s < f->count; s++) {
		fprintf(to, "$d%u << EOD\n", s);
		for (unsigned i = 0; i < f->series[s].count; i++)
			fprintf(to, "%.9g %.9g\n", f->series[s].x[i], f->series[s].y[i]);
		fprintf(to, "EOD\n");
	}
}

static void plot(FILE *to, const struct figure *f)
{
	fprintf(to, "set title '%s'\nset xlabel '%s'\nset ylabel '%s'\nset key outside right\nset grid\n", f->title,
		f->x_label, f->y_label);
	fprintf(to, "%s%s", (f->log_axes & LOG_X) ? "set logscale x\nset format x '10^{%T}'\n" : "",
		(f->log_axes & LOG_Y) ? "set logscale y\n" : "set yrange [0:*]\n");
	plot_data(to, f);
	for (unsigned s = 0; s < f->count; s++)
		fprintf(to, "%s$d%u using 1:2 with linespoints title '%s'%s", s ? "" : "plot ", s, f->series[s].name,
			s + 1 < f->count ? ", \\\n" : "\n");
}

static int draw(const char *dir)
{
	FILE *to = popen("gnuplot", "w");
	int status;

	if (!to)
		return -errno;
	for (unsigned k = 0; k < all.count; k++) {
		const struct figure *f = &all.figures[k];

		fprintf(to, "reset\nset terminal dumb size 110, 24\n");
		plot(to, f);
		fprintf(
		    to,
		    "reset\nset terminal svg size 900, 480 font 'sans,12' background 'white'\nset output '%s/%s.svg'\n",
		    dir, f->name);
		plot(to, f);
		fprintf(to, "unset output\n");
	}
	status = pclose(to);
	return status ? -EIO : 0;
}

static json_t *figure_json(const struct figure *f)
{
	json_t *series = json_object();

	for (unsigned s = 0; s < f->count; s++) {
		json_t *points = json_array();

		for (unsigned i = 0; i < f->series[s].count; i++)
			json_array_append_new(points, json_pack("[ff]", f->series[s].x[i], f->series[s].y[i]));
		json_object_set_new(series, f->series[s].name, points);
	}
	return json_pack("{ss ss ss ss so}", "name", f->name, "title", f->title, "x", f->x_label, "y", f->y_label,
			 "series", series);
}

static int save(const char *dir)
{
	char path[PATH_ROOM];
	json_t *figures = json_array();
	int err;

	for (unsigned k = 0; k < all.count; k++)
		json_array_append_new(figures, figure_json(&all.figures[k]));
	snprintf(path, sizeof(path), "%s/curves.json", dir);
	err = json_dump_file(figures, path, JSON_INDENT(1)) ? -EIO : 0;
	json_decref(figures);
	return err;
}

/* --- what runs -----------------------------------------------------------------------------------------------------
 */

/* The largest power of ten that memory allows: 10^6 at least, 10^7 at most. */
static uint64_t files_max(void)
{
	uint64_t kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kib = strtoull(line + 13, NULL, 10);
	}
	if (f)
		fclose(f);
	return kib / 2 > (uint64_t)FILE_MEMORY * 10000000 / 1024 ? 10000000 : 1000000;
}

int curves_run(const char *dir, char *const *patterns, unsigned pattern_count)
{
	int err = 0;

	all.patterns = patterns;
	all.pattern_count = pattern_count;
	if (mkdir(dir, 0777) && errno != EEXIST) {
		fprintf(stderr, "leasehold-bench: cannot make %s: %s\n", dir, strerror(errno));
		return -errno;
	}
	if (curve_wanted("files"))
		err = curves_files(files_max());
	if (!err && curve_wanted("extents"))
		err = curves_extents();
	if (!err && curve_wanted("space"))
		err = curves_space();
	if (err) {
		fprintf(stderr, "leasehold-bench: the curves stopped: %s\n", strerror(-err));
		return err;
	}
	err = save(dir);
	if (err)
		fprintf(stderr, "leasehold-bench: cannot write %s/curves.json\n", dir);
	else if (draw(dir))
		fprintf(
		    stderr,
		    "leasehold-bench: gnuplot did not draw (Debian: gnuplot-nox); the points are in %s/curves.json\n",
		    dir);
	else
		printf("curves: %s/*.svg, %s/curves.json\n", dir, dir);
	return err;
}
