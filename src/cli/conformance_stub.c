/* SPDX-License-Identifier: BSD-2-Clause */
/* Conformance: rules whose checks are not written yet: they show no line. */
#include "base/types.h"
#include "cli/conformance.h"

const struct cf_rule cf_rule_17 = {.text = "no check yet"};
const struct cf_rule cf_rule_18 = {.text = "no check yet"};
const struct cf_rule cf_rule_19 = {.text = "no check yet"};
const struct cf_rule cf_rule_22 = {.text = "no check yet"};
const struct cf_rule cf_rule_23 = {.text = "no check yet"};
const struct cf_rule cf_rule_24 = {.text = "no check yet"};
const struct cf_rule cf_rule_25 = {.text = "no check yet"};
const struct cf_rule cf_rule_26 = {.text = "no check yet"};
const struct cf_rule cf_rule_27 = {.text = "no check yet"};
const struct cf_rule cf_rule_28 = {.text = "no check yet"};
const struct cf_rule cf_rule_29 = {.text = "no check yet"};
const struct cf_rule cf_rule_30 = {.text = "no check yet"};
const struct cf_rule cf_rule_31 = {.text = "no check yet"};
const struct cf_rule cf_rule_32 = {.text = "no check yet"};
const struct cf_rule cf_rule_33 = {.text = "no check yet"};
const struct cf_rule cf_rule_34 = {.text = "no check yet"};
const struct cf_rule cf_rule_35 = {.text = "no check yet"};
const struct cf_rule cf_rule_36 = {.text = "no check yet"};
