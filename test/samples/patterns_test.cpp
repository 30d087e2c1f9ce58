// Each sample of the gallery in a namespace of its own. What they include has been included before.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsubobject-linkage"  // as in sample.hpp, but before the library
#endif

#include <leat/flow.hpp>
#include <leat/inspect.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../samples/common/say.hpp"

#include "sample.hpp"

namespace bounded_fan_out {
#include "../../samples/patterns/bounded_fan_out.cpp"
}
namespace cancellation {
#include "../../samples/patterns/cancellation.cpp"
}
namespace deadline {
#include "../../samples/patterns/deadline.cpp"
}
namespace drop {
#include "../../samples/patterns/drop.cpp"
}
namespace error_handling {
#include "../../samples/patterns/error_handling.cpp"
}
namespace fan_in {
#include "../../samples/patterns/fan_in.cpp"
}
namespace fan_out {
#include "../../samples/patterns/fan_out.cpp"
}
namespace fan_out_semaphore {
#include "../../samples/patterns/fan_out_semaphore.cpp"
}
namespace generator {
#include "../../samples/patterns/generator.cpp"
}
namespace pooling {
#include "../../samples/patterns/pooling.cpp"
}
namespace producers_consumers {
#include "../../samples/patterns/producers_consumers.cpp"
}
namespace rate_limiting {
#include "../../samples/patterns/rate_limiting.cpp"
}
namespace wait_for_result {
#include "../../samples/patterns/wait_for_result.cpp"
}
namespace wait_for_task {
#include "../../samples/patterns/wait_for_task.cpp"
}
namespace choices {
#include "../../samples/patterns/choices.cpp"
}
namespace choices_at_run_time {
#include "../../samples/patterns/choices_at_run_time.cpp"
}
namespace contexts {
#include "../../samples/patterns/contexts.cpp"
}
namespace cleanup {
#include "../../samples/patterns/cleanup.cpp"
}
namespace news {
#include "../../samples/patterns/news.cpp"
}
namespace levels {
#include "../../samples/patterns/levels.cpp"
}
namespace pipeline {
#include "../../samples/patterns/pipeline.cpp"
}
namespace shared_state {
#include "../../samples/patterns/shared_state.cpp"
}
namespace once_and_again {
#include "../../samples/patterns/once_and_again.cpp"
}
namespace slow_servers {
#include "../../samples/patterns/slow_servers.cpp"
}
namespace broken_servers {
#include "../../samples/patterns/broken_servers.cpp"
}
namespace who_waits {
#include "../../samples/patterns/who_waits.cpp"
}
namespace virtual_time {
#include "../../samples/patterns/virtual_time.cpp"
}

using namespace std::chrono_literals;

TEST_CASE("patterns: bounded_fan_out")
{
    check_as_described(SAMPLES "/patterns/bounded_fan_out.cpp", bounded_fan_out::library, 0ms, 2);
}
TEST_CASE("patterns: cancellation")
{
    check_as_described(SAMPLES "/patterns/cancellation.cpp", cancellation::search, 300ms);
}
TEST_CASE("patterns: deadline")
{
    check_as_described(SAMPLES "/patterns/deadline.cpp", deadline::request, 1s);
}
TEST_CASE("patterns: drop")
{
    check_as_described(SAMPLES "/patterns/drop.cpp", drop::hotline, 1660ms);
}
TEST_CASE("patterns: error_handling")
{
    check_as_described(SAMPLES "/patterns/error_handling.cpp", error_handling::post_office, 40ms);
}
TEST_CASE("patterns: fan_in")
{
    check_as_described(SAMPLES "/patterns/fan_in.cpp", fan_in::weather, 1500ms);
}
TEST_CASE("patterns: fan_out")
{
    check_as_described(SAMPLES "/patterns/fan_out.cpp", fan_out::compare, 300ms);
}
TEST_CASE("patterns: fan_out_semaphore")
{
    check_as_described(SAMPLES "/patterns/fan_out_semaphore.cpp", fan_out_semaphore::office, 400ms);
}
TEST_CASE("patterns: generator")
{
    check_as_described(SAMPLES "/patterns/generator.cpp", generator::numbers, 0ms);
}
TEST_CASE("patterns: pooling")
{
    check_as_described(SAMPLES "/patterns/pooling.cpp", pooling::print_shop, 1020ms);
}
TEST_CASE("patterns: producers_consumers")
{
    check_as_described(SAMPLES "/patterns/producers_consumers.cpp", producers_consumers::shop, 800ms);
}
TEST_CASE("patterns: rate_limiting")
{
    check_as_described(SAMPLES "/patterns/rate_limiting.cpp", rate_limiting::service, 2700ms);
}
TEST_CASE("patterns: wait_for_result")
{
    check_as_described(SAMPLES "/patterns/wait_for_result.cpp", wait_for_result::morning, 500ms);
}
TEST_CASE("patterns: wait_for_task")
{
    check_as_described(SAMPLES "/patterns/wait_for_task.cpp", wait_for_task::office, 400ms);
}
TEST_CASE("patterns: choices")
{
    check_as_described(SAMPLES "/patterns/choices.cpp", choices::museum, 1s);
}
TEST_CASE("patterns: choices_at_run_time")
{
    check_as_described(SAMPLES "/patterns/choices_at_run_time.cpp", choices_at_run_time::museum, 300ms);
}
TEST_CASE("patterns: contexts")
{
    check_as_described(SAMPLES "/patterns/contexts.cpp", contexts::shop, 300ms);
}
TEST_CASE("patterns: cleanup")
{
    check_as_described(SAMPLES "/patterns/cleanup.cpp", cleanup::shop, 350ms);
}
TEST_CASE("patterns: news")
{
    check_as_described(SAMPLES "/patterns/news.cpp", news::river, 600ms);
}
TEST_CASE("patterns: levels")
{
    check_as_described(SAMPLES "/patterns/levels.cpp", levels::river, 780ms);
}
TEST_CASE("patterns: pipeline")
{
    check_as_described(SAMPLES "/patterns/pipeline.cpp", pipeline::post_office, 1500ms);
}
TEST_CASE("patterns: shared_state")
{
    check_as_described(SAMPLES "/patterns/shared_state.cpp", shared_state::morning, 1500ms);
}
TEST_CASE("patterns: once_and_again")
{
    check_as_described(SAMPLES "/patterns/once_and_again.cpp", once_and_again::morning, 400ms);
}
TEST_CASE("patterns: slow_servers")
{
    check_as_described(SAMPLES "/patterns/slow_servers.cpp", slow_servers::day, 360ms);
}
TEST_CASE("patterns: broken_servers")
{
    check_as_described(SAMPLES "/patterns/broken_servers.cpp", broken_servers::day, 200ms);
}
TEST_CASE("patterns: who_waits")
{
    check_as_described(SAMPLES "/patterns/who_waits.cpp", who_waits::kitchen, 1s);
}
TEST_CASE("patterns: virtual_time")
{
    const std::vector<std::string> lines = described_output(SAMPLES "/patterns/virtual_time.cpp");
    captured_output output;
    virtual_time::rehearse();
    CHECK(as_described(output.text(), lines));
}
