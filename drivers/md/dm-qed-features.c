// SPDX-License-Identifier: GPL-2.0-only
/*
 * The features of a table line, see dm-qed-features.h.
 */

#include <linux/device-mapper.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "dm-qed-features.h"
#include "dm-qed-owner.h"
#include "dm-qed-status.h"

#define DM_MSG_PREFIX "qed"

#define QED_MAX_COMMIT_MS		(60 * 60 * 1000)

static int parse_u64(struct dm_arg_set *as, u64 *value, const char *name,
		     char **error)
{
	const char *arg = dm_shift_arg(as);

	if (arg && !kstrtou64(arg, 10, value))
		return 0;
	DMERR("%s needs a number, not %s", name, arg ? arg : "nothing");
	*error = "Invalid number of clusters";
	return -EINVAL;
}

static int parse_host(struct dm_arg_set *as, struct qed_features *f, char **error)
{
	const char *arg = dm_shift_arg(as);

	if (arg && qed_host_is_legal(arg)) {
		strscpy(f->host, arg, sizeof(f->host));
		f->named = true;
		return 0;
	}
	DMERR("host needs 1 to %u characters of A-Z a-z 0-9 . _ -, not %s",
	      QED_HOST_SIZE - 1, arg ? arg : "nothing");
	*error = "Invalid name of a host";
	return -EINVAL;
}

/* A feature that has no value */
static bool *find_flag(struct qed_features *f, const char *word)
{
	const struct {
		const char *word;
		bool *flag;
	} flags[] = {
		{ "read_only", &f->read_only },
		{ "error_if_no_space", &f->error_if_no_space },
		{ "ignore_discard", &f->ignore_discard },
		{ "no_discard_passdown", &f->no_discard_passdown },
		{ "known_zeroes", &f->known_zeroes },
		{ "takeover", &f->takeover },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcasecmp(word, flags[i].word))
			return flags[i].flag;
	return NULL;
}

static int parse_backing(struct dm_arg_set *as, struct qed_features *f,
			 char **error)
{
	if (f->backing || !as->argc) {
		*error = f->backing ? "More than one backing device" :
				      "Backing device is missing";
		return -EINVAL;
	}
	f->backing = dm_shift_arg(as);
	return 0;
}

/* In the order in which they are: what is raw is below all of them. */
static int parse_layer(struct dm_arg_set *as, struct qed_features *f,
		       char **error)
{
	if (f->backing || f->nr_layers == QED_MAX_LAYERS || !as->argc) {
		*error = f->backing ? "Layer after the backing device" :
			 as->argc ? "Too many layers" : "Layer is missing";
		return -EINVAL;
	}
	f->layers[f->nr_layers++] = dm_shift_arg(as);
	return 0;
}

static int parse_feature(struct dm_arg_set *as, struct qed_features *f,
			 char **error)
{
	static const struct dm_arg cache_arg = {
		QED_MIN_CACHE_KIB, UINT_MAX, "Invalid cache_kib"
	};
	static const struct dm_arg commit_arg = {
		0, QED_MAX_COMMIT_MS, "Invalid commit_interval"
	};
	const char *arg = dm_shift_arg(as);
	bool *flag = find_flag(f, arg);

	if (flag) {
		*flag = true;
		return 0;
	}
	if (!strcasecmp(arg, "host"))
		return parse_host(as, f, error);
	if (!strcasecmp(arg, "backing"))
		return parse_backing(as, f, error);
	if (!strcasecmp(arg, "layer"))
		return parse_layer(as, f, error);
	if (!strcasecmp(arg, "cache_kib"))
		return dm_read_arg(&cache_arg, as, &f->cache_kib, error);
	if (!strcasecmp(arg, "commit_interval"))
		return dm_read_arg(&commit_arg, as, &f->commit_ms, error);
	if (!strcasecmp(arg, "low_water"))
		return parse_u64(as, &f->low_water, arg, error);
	if (!strcasecmp(arg, "zero_ahead"))
		return parse_u64(as, &f->zero_ahead, arg, error);
	if (!strcasecmp(arg, "zeroed_from")) {
		f->zeroed = true;
		return parse_u64(as, &f->zeroed_from, arg, error);
	}

	DMERR("unrecognised feature argument %s", arg);
	*error = "Unrecognised feature argument";
	return -EINVAL;
}

int qed_features_parse(struct dm_arg_set *as, struct qed_features *f, char **error)
{
	/* Every argument once, but for layers; the value options with their values */
	static const struct dm_arg count_arg = {
		0, 20 + 2 * QED_MAX_LAYERS, "Invalid number of feature arguments"
	};
	struct dm_arg_set group;
	unsigned int argc;
	int r;

	f->commit_ms = QED_DEFAULT_COMMIT_MS;
	qed_host_default(f->host);
	if (!as->argc)
		return 0;

	r = dm_read_arg_group(&count_arg, as, &argc, error);
	if (r)
		return r;
	/* The counted arguments are a set of their own: none is read beyond. */
	group.argc = argc;
	group.argv = as->argv;
	dm_consume_args(as, argc);
	if (as->argc) {
		*error = "Too many arguments";
		return -EINVAL;
	}

	while (group.argc && !r)
		r = parse_feature(&group, f, error);
	return r;
}
