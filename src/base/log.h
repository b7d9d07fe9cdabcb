/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of background work, one line each to standard error: time, level, area, text. Logged once, where the
 * decision is made. LEASEHOLD_LOG=error|warn|info|debug sets the level; warn is the default.
 */
#ifndef LH_BASE_LOG_H
#define LH_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_line(enum log_level level, const char *area, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_line(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_line(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_line(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_line(LOG_DEBUG, area, __VA_ARGS__)

#endif
