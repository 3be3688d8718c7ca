"""The fields that the exchange's objects are known to have, by their names on the wire; others are told, not minded."""

from typing import Final


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


TRADE: Final = _names(
    """
    bio condition_id event_slug icon name outcome outcome_index price profile_image profile_image_optimized
    proxy_wallet pseudonym side size slug timestamp title token_id transaction_hash
    """
)
ACTIVITY: Final = _names(
    """
    bio condition_id event_slug icon is_combo name outcome outcome_index price profile_image profile_image_optimized
    proxy_wallet pseudonym side size slug timestamp title token_id transaction_hash type usdc_size
    """
)
POSITION: Final = _names(
    """
    archived avg_price condition_id current_price current_size current_value end_date entry_cost_usdc
    entry_fees_usdc event_id event_slug first_entry_at icon last_event_at mergeable name negative_risk
    opposite_outcome opposite_token_id outcome outcome_index percent_pnl percent_realized_pnl profile_image
    proxy_wallet realized_pnl redeemable slug status title token_id total_cost_usdc total_pnl total_size
    unrealized_pnl verified
    """
)
RESOLUTION: Final = _names(
    """
    condition_id expected_settlement_time extended_review last_update_timestamp log_index new_version_q payouts
    price proposed_price question_id reproposed_price resolution_source resolved_at resolved_block
    settlement_time_basis status transaction_hash was_arbitrated was_disputed
    """
)
BOOK: Final = _names(
    """
    asks asset_id bids hash last_trade_price market min_order_size neg_risk tick_size timestamp
    """
)
MARKET: Final = _names(
    """
    acceptingOrders acceptingOrdersTimestamp active approved archived automaticallyActive automaticallyResolved
    bestAsk bestBid category clearBookOnStart clobRewards clobTokenIds closed closedTime comboStatus competitive
    conditionId createdAt creator customLiveness cyom deploying deployingTimestamp description enableOrderBook
    endDate endDateIso eventStartTime events featured feeSchedule feeType feesEnabled fpmmLive funded gameStartTime
    groupItemThreshold groupItemTitle hasReviewedDates holdingRewardsEnabled icon id image lastTradePrice liquidity
    liquidityClob liquidityNum lowerBound mailchimpTag makerBaseFee manualActivation marketMakerAddress marketType
    negRisk negRiskMarketID negRiskOther negRiskRequestID new oneDayPriceChange oneHourPriceChange
    oneMonthPriceChange oneWeekPriceChange oneYearPriceChange orderMinSize orderPriceMinTickSize outcomePrices
    outcomes pagerDutyNotificationEnabled pendingDeployment positionIds question questionID ready readyForCron
    requiresTranslation resolutionSource resolutionStatus resolvedBy restricted rewardsMaxSpread rewardsMinSize
    rfqEnabled seriesColor showGmpOutcome showGmpSeries slug spread startDate startDateIso submitted_by takerBaseFee
    twitterCardImage umaBond umaEndDate umaResolutionStatus umaResolutionStatuses umaReward updatedAt updatedBy
    upperBound version volume volume1mo volume1moAmm volume1moClob volume1wk volume1wkAmm volume1wkClob volume1yr
    volume1yrAmm volume1yrClob volume24hr volume24hrClob volumeClob volumeNum
    """
)
LAST_TRADE: Final = _names(
    """
    price side token_id
    """
)
LOG: Final = _names(
    """
    address blockHash blockNumber blockTimestamp data logIndex removed topics transactionHash transactionIndex
    """
)
BLOCK: Final = _names(
    """
    baseFeePerGas blobGasUsed difficulty excessBlobGas extraData gasLimit gasUsed hash logsBloom milliTimestamp
    miner mixHash nonce number parentBeaconBlockRoot parentHash receiptsRoot requestsHash sha3Uncles size stateRoot
    timestamp totalDifficulty transactions transactionsRoot uncles withdrawals withdrawalsRoot
    """
)
