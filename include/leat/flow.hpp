/// The patterns that are made of tasks, channels and groups: limits, fans, pipelines, subscriptions.
#pragma once

#include <leat/flow/broadcast.hpp>
#include <leat/flow/broker.hpp>
#include <leat/flow/fan.hpp>
#include <leat/flow/for_each.hpp>
#include <leat/flow/generate.hpp>
#include <leat/flow/keyed_rate_limiter.hpp>
#include <leat/flow/pipeline.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/flow/retry.hpp>
#include <leat/flow/topic_pattern.hpp>
#include <leat/flow/watch.hpp>
